using System.Runtime.CompilerServices;
using System.Text.Json;
using Storage.Crush;

namespace Storage.Tests.Crush;

/// <summary>The golden data under tests/vectors/crush, made with Ceph 16.2's own tools.</summary>
internal static class CrushVectors
{
    /// <summary>Other vectors of the same form may be put to the test by naming their directory here.</summary>
    private const string DirectoryVariable = "STORAGE_CRUSH_VECTORS";

    public static string Directory { get; } = Environment.GetEnvironmentVariable(DirectoryVariable) ?? Find();

    /// <summary>The names of the maps that have mappings.</summary>
    public static IEnumerable<string> Names =>
        System.IO.Directory.GetFiles(Directory, "*.vectors.json")
            .Select(f => Path.GetFileName(f)[..^".vectors.json".Length])
            .Where(n => n != "osdmap")
            .Order(StringComparer.Ordinal);

    /// <summary>The names of all maps.</summary>
    public static IEnumerable<string> MapNames =>
        System.IO.Directory.GetFiles(Directory, "*.crush.txt").Select(f => Path.GetFileName(f)[..^".crush.txt".Length]).Order(StringComparer.Ordinal);

    public static byte[] Binary(string name) => File.ReadAllBytes(Path.Combine(Directory, name == "osdmap" ? "osdmap.crush.bin" : name + ".bin"));

    public static string Text(string name) => File.ReadAllText(Path.Combine(Directory, name + ".crush.txt"));

    public static JsonElement Json(string file)
    {
        using FileStream stream = File.OpenRead(Path.Combine(Directory, file));
        return JsonDocument.Parse(stream).RootElement;
    }

    public static CrushMap Map(string name) => CrushMap.Decode(Binary(name));

    public static uint[] Integers(JsonElement array) => [.. array.EnumerateArray().Select(v => v.GetUInt32())];

    public static string SourceDirectory => Find();

    private static string Find([CallerFilePath] string source = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(source)!, "..", "..", "vectors", "crush"));
}
