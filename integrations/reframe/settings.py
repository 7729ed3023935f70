"""A site of one machine without a scheduler, for a first try. On a cluster use the site's own settings."""

site_configuration = {
    "systems": [
        {
            "name": "generic",
            "descr": "This machine",
            "hostnames": [".*"],
            "partitions": [
                {"name": "default", "scheduler": "local", "launcher": "local", "environs": ["builtin"]},
                {"name": "mpirun", "scheduler": "local", "launcher": "mpirun", "environs": ["builtin"]},
            ],
        }
    ],
    "environments": [{"name": "builtin", "cc": "cc", "cxx": "", "ftn": ""}],
}
