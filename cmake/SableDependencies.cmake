# Finds what sable is built from, and refuses an HDF5 built for another MPI than the one found.
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(PkgConfig REQUIRED)

if(NOT SABLE_SIMULATE)
  set(HDF5_PREFER_PARALLEL TRUE)
endif()
if(HDF5_C_COMPILER_EXECUTABLE AND NOT IS_ABSOLUTE "${HDF5_C_COMPILER_EXECUTABLE}") # as typed by a person or a preset
  find_program(SABLE_H5CC NAMES ${HDF5_C_COMPILER_EXECUTABLE} REQUIRED)
  set(HDF5_C_COMPILER_EXECUTABLE ${SABLE_H5CC} CACHE FILEPATH "HDF5's compiler wrapper" FORCE)
endif()
find_package(HDF5 REQUIRED COMPONENTS C HL)

# A parallel HDF5 brings its own MPI: two in one process crash, late and obscurely. find_package(HDF5) mixes them silently,
# so the library is asked which MPI it needs.
function(sable_check_hdf5_flavour)
  set(flavours openmpi mpich)
  if(NOT HDF5_IS_PARALLEL)
    return()
  endif()
  foreach(flavour ${flavours})
    string(JOIN " " mpi_paths ${MPI_C_INCLUDE_DIRS} ${MPI_C_HEADER_DIR} ${MPI_C_LIBRARIES})
    string(JOIN " " hdf5_paths ${HDF5_C_INCLUDE_DIRS} ${HDF5_C_LIBRARIES})
    string(FIND "${mpi_paths}" "${flavour}" in_mpi)
    string(FIND "${hdf5_paths}" "${flavour}" in_hdf5)
    if(in_mpi GREATER -1)
      set(mpi ${flavour})
    endif()
    if(in_hdf5 GREATER -1)
      set(hdf5 ${flavour})
    endif()
  endforeach()
  if(DEFINED mpi AND DEFINED hdf5 AND NOT mpi STREQUAL hdf5)
    message(FATAL_ERROR "MPI is ${mpi}, but HDF5 was built for ${hdf5} (${HDF5_C_LIBRARIES}). Pass "
      "-DMPI_C_COMPILER=mpicc.${mpi} -DHDF5_C_COMPILER_EXECUTABLE=h5pcc.${mpi} (or a serial h5cc) in a fresh build folder.")
  endif()
endfunction()
sable_check_hdf5_flavour()
# MPICH's MPI_STATUSES_IGNORE is the address 1, which gcc takes for an array that is too small.
include(CheckCSourceCompiles)
include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES MPI::MPI_C)
check_symbol_exists(MPICH_VERSION mpi.h SABLE_MPI_IS_MPICH)
check_symbol_exists(OMPI_MAJOR_VERSION mpi.h SABLE_MPI_IS_OPENMPI)
unset(CMAKE_REQUIRED_LIBRARIES)
add_library(sable_mpi INTERFACE)
target_link_libraries(sable_mpi INTERFACE MPI::MPI_C)
if(SABLE_MPI_IS_MPICH AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(sable_mpi INTERFACE -Wno-stringop-overflow)
endif()

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

# FFTW, single precision (the peer of ssm/s4 and ssm/s4d) and double (their checks).
pkg_check_modules(FFTW REQUIRED IMPORTED_TARGET fftw3f fftw3)

# OpenBLAS, optional: a peer of ssm/hippo and attention/prefill, loaded on demand (kernels/common/sable_blas.h).
pkg_check_modules(OPENBLAS openblas)
if(OPENBLAS_FOUND)
  find_library(SABLE_OPENBLAS openblas HINTS ${OPENBLAS_LIBRARY_DIRS})
  get_filename_component(SABLE_OPENBLAS "${SABLE_OPENBLAS}" REALPATH CACHE) # what runs needs no libopenblas-dev
endif()

# oneDNN 2, optional: a peer of attention/prefill (kernels/attention/row_onednn.c). In sable's threads it takes each for
# alone only if both have one OpenMP, which for packaged builds is GNU's.
find_path(SABLE_ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h)
find_library(SABLE_ONEDNN dnnl)
if(SABLE_ONEDNN AND SABLE_ONEDNN_INCLUDE_DIR AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set(CMAKE_REQUIRED_INCLUDES ${SABLE_ONEDNN_INCLUDE_DIR})
  check_c_source_compiles("#include <oneapi/dnnl/dnnl.h>
    #if DNNL_VERSION_MAJOR != 2 || DNNL_CPU_RUNTIME != DNNL_RUNTIME_OMP
    #error another interface
    #endif
    int main(void) { return 0; }" SABLE_ONEDNN_FITS)
  unset(CMAKE_REQUIRED_INCLUDES)
endif()

# LIBXSMM 1, optional: a peer of attention/prefill (kernels/attention/row_libxsmm.c), in sable's threads.
find_path(SABLE_LIBXSMM_INCLUDE_DIR libxsmm.h)
find_library(SABLE_LIBXSMM xsmm)
find_library(SABLE_LIBXSMM_NOBLAS xsmmnoblas) # in place of the BLAS that it calls for large products

# PETSc, optional: a peer of value_iteration over stored transitions, loaded on demand (drivers/value_iteration_mdp_ksp.c).
# It must be built for the MPI found, with real numbers in double precision.
pkg_search_module(PETSC petsc-real petsc PETSc)
if(PETSC_FOUND AND NOT SABLE_SIMULATE)
  set(CMAKE_REQUIRED_INCLUDES ${PETSC_INCLUDE_DIRS} ${MPI_C_INCLUDE_DIRS})
  set(CMAKE_REQUIRED_QUIET TRUE)
  check_c_source_compiles("#include <petscksp.h>
    #if defined(PETSC_USE_COMPLEX) || !defined(PETSC_USE_REAL_DOUBLE)
    #error other numbers
    #endif
    int main(void) { return 0; }" SABLE_PETSC_FITS)
  unset(CMAKE_REQUIRED_QUIET)
  unset(CMAKE_REQUIRED_INCLUDES)
  if(SABLE_PETSC_FITS)
    list(GET PETSC_LIBRARIES 0 name)
    find_library(SABLE_PETSC ${name} HINTS ${PETSC_LIBRARY_DIRS})
    get_filename_component(SABLE_PETSC "${SABLE_PETSC}" REALPATH CACHE)
  else()
    message(STATUS "PETSc is there, but for another MPI or other numbers: no variant petsc")
  endif()
endif()

# PT-Scotch, optional: partition=scotch of value_iteration over stored transitions (drivers/value_iteration_mdp_graph.c). It
# has no pkg-config file, and only its code tells for which MPI it was built: Open MPI's objects have names.
find_path(SABLE_PTSCOTCH_INCLUDE_DIR ptscotch.h PATH_SUFFIXES scotch)
find_library(SABLE_PTSCOTCH ptscotch)
find_library(SABLE_SCOTCH scotch)
find_library(SABLE_PTSCOTCH_ERRORS ptscotcherr)
set(SABLE_PTSCOTCH_FITS FALSE)
if(SABLE_PTSCOTCH AND SABLE_SCOTCH AND SABLE_PTSCOTCH_ERRORS AND SABLE_PTSCOTCH_INCLUDE_DIR AND NOT SABLE_SIMULATE)
  file(STRINGS "${SABLE_PTSCOTCH}" ompi_names REGEX "ompi_mpi_" LIMIT_COUNT 1)
  if((ompi_names AND SABLE_MPI_IS_OPENMPI) OR NOT (ompi_names OR SABLE_MPI_IS_OPENMPI))
    set(SABLE_PTSCOTCH_FITS TRUE)
  else()
    message(STATUS "PT-Scotch is there, but for another MPI (${SABLE_PTSCOTCH}): no partition=scotch")
  endif()
endif()
