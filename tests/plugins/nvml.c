/* NVIDIA's management library as the tests want it: two devices of which every word stands in files of the folder $FAKE_NVML.

   `calls` lists what was asked, a word for each; a file NAME or NAME.INDEX holds a number to be answered or, where it is called
   NAME.error, an error to be returned. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_FOUND = 6, DEVICES = 2 };

static const char *const addresses[DEVICES] = {"0000:01:00.0", "0000:02:00.0"};
static int devices[DEVICES] = {0, 1};

static FILE *open_setting(const char *name, const char *mode)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("FAKE_NVML"), name);
    return fopen(path, mode);
}

static int setting(const char *name, int otherwise)
{
    int value = otherwise;
    FILE *file = open_setting(name, "r");
    if (file == NULL)
        return otherwise;
    if (fscanf(file, "%d", &value) != 1)
        value = otherwise;
    fclose(file);
    return value;
}

static int setting_of(const char *name, int device, int otherwise)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%d", name, device);
    return setting(full, otherwise);
}

static int called(const char *word)
{
    char error[64];
    FILE *file = open_setting("calls", "a");
    fprintf(file, "%s\n", word);
    fclose(file);
    snprintf(error, sizeof error, "%s.error", word);
    return setting(error, OK);
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return called("init"); }
int nvmlShutdown(void) { return called("shutdown"); }
const char *nvmlErrorString(int error) { return error == 15 ? "GPU is lost" : "an error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = DEVICES; return setting("count.error", OK); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **device)
{
    *device = &devices[index];
    return setting_of("handle.error", (int)index, OK);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, int **device)
{
    for (int index = 0; index < DEVICES; index++)
        if (strcmp(addresses[index], address) == 0)
            return nvmlDeviceGetHandleByIndex_v2((unsigned)index, device);
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(int *device, unsigned *index) { *index = (unsigned)*device; return OK; }

int nvmlDeviceGetName(int *device, char *name, unsigned length)
{
    snprintf(name, length, "Made-up %c", 'A' + *device);
    return OK;
}

int nvmlDeviceGetTemperature(int *device, int sensor, unsigned *degrees)
{
    (void)sensor;
    *degrees = (unsigned)setting_of("temperature", *device, 40);
    return setting_of("temperature.error", *device, OK);
}

int nvmlDeviceGetTemperatureThreshold(int *device, int threshold, unsigned *degrees)
{
    *degrees = (unsigned)setting_of(threshold == 1 ? "slowdown" : "other", *device, 0);
    return *degrees == 0 ? 3 : OK; /* not supported */
}
