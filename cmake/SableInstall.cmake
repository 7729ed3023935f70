# Installs the program, its data, and libsable_kernels with a CMake package: find_package(sable) gives sable::sable_kernels.
include(CMakePackageConfigHelpers)

install(TARGETS sable RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS sable_kernels EXPORT sable ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${kernel_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sable)
install(DIRECTORY data/ DESTINATION ${CMAKE_INSTALL_DATADIR}/sable/data)
install(EXPORT sable NAMESPACE sable:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sable FILE sableTargets.cmake)

configure_package_config_file(cmake/sableConfig.cmake.in ${CMAKE_BINARY_DIR}/sableConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sable)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/sableConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/sableConfig.cmake ${CMAKE_BINARY_DIR}/sableConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sable)
