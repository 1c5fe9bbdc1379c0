/* In place of sc.exe, which only prints its usage under Wine: prints the file `<verb>.bin` beside it, byte by byte, where the
   verb is the first argument that is no \\host. The arguments go to `asked.txt`. */
#include <windows.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <io.h>

int main(int count, char **arguments)
{
    char folder[MAX_PATH], path[MAX_PATH], bytes[4096];
    size_t length;
    FILE *file;
    int verb = 1;
    GetModuleFileNameA(NULL, folder, sizeof folder);
    *strrchr(folder, '\\') = 0;
    snprintf(path, sizeof path, "%s\\asked.txt", folder);
    file = fopen(path, "a");
    if (!file) return 2;
    fprintf(file, "%s\n", GetCommandLineA());
    fclose(file);
    if (count > 1 && !strncmp(arguments[1], "\\\\", 2)) verb = 2;
    if (count <= verb) return 64;
    snprintf(path, sizeof path, "%s\\%s.bin", folder, arguments[verb]);
    file = fopen(path, "rb");
    if (!file) return 2;
    _setmode(_fileno(stdout), _O_BINARY);
    while ((length = fread(bytes, 1, sizeof bytes, file)) > 0) fwrite(bytes, 1, length, stdout);
    return 0;
}
