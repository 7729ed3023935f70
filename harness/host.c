#include "host.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"

static const double gib = 0x1p30;

const char *const sable_host_fact_name[SABLE_HOST_FACTS] = {
    [SABLE_HOST_CPU_MODEL] = "cpu_model",
    [SABLE_HOST_SOCKETS] = "sockets",
    [SABLE_HOST_CORES] = "cores",
    [SABLE_HOST_HARDWARE_THREADS] = "hardware_threads",
    [SABLE_HOST_NUMA_DOMAINS] = "numa_domains",
    [SABLE_HOST_ALLOWED] = "processors_allowed",
    [SABLE_HOST_CACHES] = "caches",
    [SABLE_HOST_MEMORY] = "memory",
    [SABLE_HOST_KERNEL] = "kernel",
    [SABLE_HOST_OS] = "os",
    [SABLE_HOST_CLOCK_GOVERNOR] = "clock_governor",
    [SABLE_HOST_CLOCK_BOOST] = "clock_boost",
    [SABLE_HOST_SMT] = "smt_active",
    [SABLE_HOST_NUMA_BALANCING] = "numa_balancing",
    [SABLE_HOST_MICROCODE] = "microcode",
    [SABLE_HOST_HUGE_PAGES] = "transparent_huge_pages",
    [SABLE_HOST_HYPERVISOR] = "hypervisor",
    [SABLE_HOST_CGROUP_CPUS] = "cgroup_cpus",
    [SABLE_HOST_CGROUP_MEMORY] = "cgroup_memory",
};

static void set(char *text, const char *value)
{
    snprintf(text, SABLE_HOST_TEXT_SIZE, "%s", value);
}

/* "2 x 48 KiB L1d, 2 x 2 MiB L2, …" */
static void describe_caches(hwloc_topology_t topology, char *text)
{
    static const hwloc_obj_type_t type[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE};
    static const char *const name[] = {"L1d", "L2", "L3", "L4"};
    char line[SABLE_HOST_TEXT_SIZE] = "";
    for (int level = 0; level < 4; level++) {
        int count = hwloc_get_nbobjs_by_type(topology, type[level]);
        hwloc_obj_t cache = count > 0 ? hwloc_get_obj_by_type(topology, type[level], 0) : NULL;
        if (!cache)
            continue;
        double kib = (double)cache->attr->cache.size / 1024;
        size_t length = strlen(line);
        snprintf(line + length, sizeof line - length, "%s%d x %g %s %s", length ? ", " : "", count,
                 kib < 1024 ? kib : kib / 1024, kib < 1024 ? "KiB" : "MiB", name[level]);
    }
    if (*line)
        set(text, line);
}

/* Its name, or where the processor does not tell (ARM) the numbers of its maker and design. */
static void describe_model(hwloc_topology_t topology, char *text)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    const char *maker = package ? hwloc_obj_get_info_by_name(package, "CPUImplementer") : NULL;
    const char *design = package ? hwloc_obj_get_info_by_name(package, "CPUPart") : NULL;
    if (name)
        set(text, name);
    else if (maker && design)
        snprintf(text, SABLE_HOST_TEXT_SIZE, "implementer %.40s, part %.40s", maker, design);
}

static void describe_topology(hwloc_topology_t topology, char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE])
{
    static const struct {
        enum sable_host_fact fact;
        hwloc_obj_type_t type;
    } counted[] = {{SABLE_HOST_SOCKETS, HWLOC_OBJ_PACKAGE},
                   {SABLE_HOST_CORES, HWLOC_OBJ_CORE},
                   {SABLE_HOST_HARDWARE_THREADS, HWLOC_OBJ_PU},
                   {SABLE_HOST_NUMA_DOMAINS, HWLOC_OBJ_NUMANODE}};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        int count = hwloc_get_nbobjs_by_type(topology, counted[i].type);
        if (count > 0)
            snprintf(text[counted[i].fact], SABLE_HOST_TEXT_SIZE, "%d", count);
    }
    describe_model(topology, text[SABLE_HOST_CPU_MODEL]);
    describe_caches(topology, text[SABLE_HOST_CACHES]);
    hwloc_bitmap_list_snprintf(text[SABLE_HOST_ALLOWED], SABLE_HOST_TEXT_SIZE,
                               hwloc_topology_get_allowed_cpuset(topology));
}

/* The choice in brackets of "always [madvise] never". */
static void describe_huge_pages(char *text)
{
    char line[SABLE_HOST_TEXT_SIZE];
    if (!sable_read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line))
        return;
    char *open = strchr(line, '['), *close = open ? strchr(open, ']') : NULL;
    if (!close)
        return;
    *close = '\0';
    set(text, open + 1);
}

static void describe_system(char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE])
{
    struct utsname system;
    char line[SABLE_HOST_TEXT_SIZE];
    if (uname(&system) >= 0)
        snprintf(text[SABLE_HOST_KERNEL], SABLE_HOST_TEXT_SIZE, "%.40s %.70s %.40s", system.sysname, system.release,
                 system.machine);
    FILE *file = fopen("/etc/os-release", "r");
    while (file && fgets(line, sizeof line, file)) {
        static const char key[] = "PRETTY_NAME=";
        if (strncmp(line, key, sizeof key - 1))
            continue;
        char *name = line + sizeof key - 1;
        name += *name == '"';
        name[strcspn(name, "\"\n")] = '\0';
        set(text[SABLE_HOST_OS], name);
    }
    if (file)
        fclose(file);
}

/* What the kernel tells in one line of a file each. */
static void describe_settings(char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE])
{
    static const struct {
        enum sable_host_fact fact;
        const char *path;
    } files[] = {{SABLE_HOST_CLOCK_GOVERNOR, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"},
                 {SABLE_HOST_CLOCK_BOOST, "/sys/devices/system/cpu/cpufreq/boost"},
                 {SABLE_HOST_SMT, "/sys/devices/system/cpu/smt/active"},
                 {SABLE_HOST_NUMA_BALANCING, "/proc/sys/kernel/numa_balancing"},
                 {SABLE_HOST_MICROCODE, "/sys/devices/system/cpu/cpu0/microcode/version"}};
    char line[SABLE_HOST_TEXT_SIZE];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (sable_read_line(files[i].path, line, sizeof line))
            set(text[files[i].fact], line);
    if (sable_read_line("/sys/devices/system/cpu/intel_pstate/no_turbo", line, sizeof line))
        set(text[SABLE_HOST_CLOCK_BOOST], *line == '0' ? "1" : "0");
    describe_huge_pages(text[SABLE_HOST_HUGE_PAGES]);
}

/* x86 tells by one of the processor's flags; who it is, firmware may tell. */
static void describe_hypervisor(char *text)
{
    char line[4096], vendor[SABLE_HOST_TEXT_SIZE];
    bool flag = false, flags = false;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && !flags && fgets(line, sizeof line, file)) {
        flags = strncmp(line, "flags", 5) == 0;
        flag = flags && strstr(line, " hypervisor");
    }
    if (file)
        fclose(file);
    bool named = sable_read_line("/sys/hypervisor/type", vendor, sizeof vendor) ||
                 sable_read_line("/sys/class/dmi/id/sys_vendor", vendor, sizeof vendor);
    if (flag)
        snprintf(text, SABLE_HOST_TEXT_SIZE, named ? "yes (%.100s)" : "yes", vendor);
    else if (flags)
        set(text, "no");
}

/* Rounded, so that hosts of the same kind say the same. */
static void describe_memory(double bytes, char *text)
{
    if (isfinite(bytes))
        snprintf(text, SABLE_HOST_TEXT_SIZE, bytes < 10 * gib ? "%.1f GiB" : "%.0f GiB", bytes / gib);
}

void sable_host_describe(hwloc_topology_t topology, char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE])
{
    for (int i = 0; i < SABLE_HOST_FACTS; i++)
        set(text[i], "unknown");
    describe_topology(topology, text);
    describe_system(text);
    describe_settings(text);
    describe_hypervisor(text[SABLE_HOST_HYPERVISOR]);
    describe_memory(1024 * sable_read_field("/proc/meminfo", "MemTotal"), text[SABLE_HOST_MEMORY]);
    struct sable_cgroup limits = sable_cgroup_own();
    set(text[SABLE_HOST_CGROUP_MEMORY], "no limit");
    describe_memory(limits.memory, text[SABLE_HOST_CGROUP_MEMORY]);
    set(text[SABLE_HOST_CGROUP_CPUS], "no limit");
    if (isfinite(limits.cpus))
        snprintf(text[SABLE_HOST_CGROUP_CPUS], SABLE_HOST_TEXT_SIZE, "%g", limits.cpus);
}

double sable_host_memory_share(int ranks)
{
    double host = 1024 * sable_read_field("/proc/meminfo", "MemAvailable");
    if (isnan(host))
        host = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double share = fmin(host, sable_cgroup_own().memory_left) / ranks;
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        double used = 1024 * sable_read_field("/proc/self/status", "VmSize");
        share = fmin(share, fmax((double)space.rlim_cur - (isnan(used) ? 0 : used), 0));
    }
    return share;
}
