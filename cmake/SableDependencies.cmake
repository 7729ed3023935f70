# Finds what sable is built from, and refuses an HDF5 built for another MPI than the one found.
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(PkgConfig REQUIRED)

set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 REQUIRED COMPONENTS C HL)
add_library(sable_hdf5 INTERFACE)
target_include_directories(sable_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(sable_hdf5 INTERFACE ${HDF5_C_HL_LIBRARIES} ${HDF5_C_LIBRARIES})

pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
add_library(sable_hwloc INTERFACE)
target_link_libraries(sable_hwloc INTERFACE PkgConfig::HWLOC)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
add_library(sable_xxhash INTERFACE)
target_link_libraries(sable_xxhash INTERFACE PkgConfig::XXHASH)

pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
add_library(sable_json INTERFACE)
target_link_libraries(sable_json INTERFACE PkgConfig::JANSSON)

find_path(RANDOM123_INCLUDE_DIR Random123/philox.h)
if(NOT RANDOM123_INCLUDE_DIR)
  message(FATAL_ERROR "Random123/philox.h was not found: install librandom123-dev (Debian) or random123 (Spack)")
endif()
include_directories(SYSTEM ${RANDOM123_INCLUDE_DIR})
