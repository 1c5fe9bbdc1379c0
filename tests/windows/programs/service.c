/* What administrators do with services, and what Event Viewer does with events, for tests.
   service.exe control NAME CODE: sends a control to a service.
   service.exe message FILE ID:   prints the text that a file has for the events of this id. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    return 1;
}

static int control(const char *name, DWORD code)
{
    SERVICE_STATUS status;
    SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager ? OpenServiceA(manager, name, SERVICE_ALL_ACCESS) : NULL;
    if (!service) return failed("OpenService");
    if (!ControlService(service, code, &status)) return failed("ControlService");
    return 0;
}

static int message(const char *file, DWORD id)
{
    char text[256];
    HMODULE module = LoadLibraryExA(file, NULL, LOAD_LIBRARY_AS_DATAFILE);
    if (!module) return failed("LoadLibraryEx");
    if (!FormatMessageA(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_IGNORE_INSERTS, module, id, 0, text, sizeof text, NULL))
        return failed("FormatMessage");
    printf("%s", text);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 4) return 64;
    DWORD number = strtoul(arguments[3], NULL, 0);
    return strcmp(arguments[1], "message") ? control(arguments[2], number) : message(arguments[2], number);
}
