"""scripts/report: results files of sable to one page. `read` files → `scaling` and `fits` → `figures` → `page`."""
