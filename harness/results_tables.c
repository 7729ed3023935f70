/* The tables of a results file: their compound types, and writing one. */
#include "results_file.h"

struct member {
    const char *name;
    size_t offset;
    hid_t type;
    size_t text; /* size of a text; 0 for a number of `type` */
};

static hid_t compound(size_t size, const struct member *members)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, size);
    for (; type >= 0 && members->name; members++) {
        hid_t member = members->text ? sable_hdf5_string(members->text) : members->type;
        herr_t inserted = member < 0 ? -1 : H5Tinsert(type, members->name, members->offset, member);
        if (members->text && member >= 0)
            H5Tclose(member);
        if (inserted < 0) {
            H5Tclose(type);
            return H5I_INVALID_HID;
        }
    }
    return type;
}

#define NUMBER(record, field, type)                                                                                    \
    {                                                                                                                  \
#field, offsetof(struct record, field), type, 0                                                                \
    }
#define TEXT(record, field)                                                                                            \
    {                                                                                                                  \
#field, offsetof(struct record, field), 0, sizeof((struct record *)0)->field                                   \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, 0, 0                                                                                                  \
    }

hid_t sable_results_counters_type(void)
{
    const struct member members[] = {NUMBER(sable_counters, rank, H5T_NATIVE_INT32),
                                     NUMBER(sable_counters, items, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, flops_fp64, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, operations_fp64, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, operations_int32, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, flops_fp32, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, flops_bf16, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, bytes_memory, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, random_accesses, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, bytes_sent, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, messages, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, bytes_network_model, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, messages_model, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, memory_model, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, peak_rss, H5T_NATIVE_INT64),
                                     NUMBER(sable_counters, involuntary_switches, H5T_NATIVE_INT64),
                                     NUMBER(sable_counters, steal_seconds, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, clock_ghz_low, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_counters, clock_ghz_high, H5T_NATIVE_DOUBLE),
                                     END};
    return compound(sizeof(struct sable_counters), members);
}

hid_t sable_results_checks_type(void)
{
    const struct member members[] = {TEXT(sable_check_result, name),
                                     NUMBER(sable_check_result, value, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_check_result, expected, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_check_result, tolerance, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_check_result, pass, H5T_NATIVE_INT),
                                     END};
    return compound(sizeof(struct sable_check_result), members);
}

hid_t sable_results_ceilings_type(void)
{
    const struct member members[] = {TEXT(sable_ceiling, name),
                                     NUMBER(sable_ceiling, value, H5T_NATIVE_DOUBLE),
                                     TEXT(sable_ceiling, unit),
                                     NUMBER(sable_ceiling, ranks, H5T_NATIVE_INT),
                                     NUMBER(sable_ceiling, threads, H5T_NATIVE_INT),
                                     NUMBER(sable_ceiling, nodes, H5T_NATIVE_INT),
                                     NUMBER(sable_ceiling, low, H5T_NATIVE_DOUBLE),
                                     NUMBER(sable_ceiling, high, H5T_NATIVE_DOUBLE),
                                     END};
    return compound(sizeof(struct sable_ceiling), members);
}

hid_t sable_results_binding_type(void)
{
    const struct member members[] = {NUMBER(sable_binding, rank, H5T_NATIVE_INT32), TEXT(sable_binding, host),
                                     NUMBER(sable_binding, thread, H5T_NATIVE_INT32), TEXT(sable_binding, cpuset), END};
    return compound(sizeof(struct sable_binding), members);
}

herr_t sable_results_put_table(hid_t parent, const char *name, hid_t type, int64_t count, const void *data)
{
    hsize_t shape = (hsize_t)count;
    if (type < 0 || (H5Lexists(parent, name, H5P_DEFAULT) > 0 && H5Ldelete(parent, name, H5P_DEFAULT) < 0))
        return -1;
    hid_t dataset = sable_hdf5_dataset(parent, name, type, 1, &shape, data);
    H5Tclose(type);
    return dataset < 0 ? -1 : H5Dclose(dataset);
}
