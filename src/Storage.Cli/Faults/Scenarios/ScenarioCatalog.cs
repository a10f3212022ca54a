using Storage.Cli.Commands;
using Storage.Cli.Configuration;

namespace Storage.Cli.Faults.Scenarios;

/// <summary>Where scenarios are: in cluster/faults of the source tree, else beside the program; or any file by its path.</summary>
internal static class ScenarioCatalog
{
    /// <summary>Set by cluster/storage.</summary>
    private const string EnvironmentVariable = "STORAGE_FAULTS";

    private static string Folder => Environment.GetEnvironmentVariable(EnvironmentVariable) is { Length: > 0 } folder && Directory.Exists(folder)
        ? folder
        : Path.Combine(AppContext.BaseDirectory, "faults");

    /// <summary>All of them, by name.</summary>
    public static IReadOnlyList<Scenario> All() => Directory.Exists(Folder)
        ? [.. Directory.EnumerateFiles(Folder, "*.json").Order(StringComparer.Ordinal).Select(Read)]
        : throw new CliException($"the scenarios' folder {Folder} is missing; run this as cluster/storage, or set ${EnvironmentVariable}.");

    /// <summary>One by its name or path.</summary>
    public static Scenario Find(string name)
    {
        if (name.EndsWith(".json", StringComparison.Ordinal) || name.Contains('/', StringComparison.Ordinal))
        {
            return File.Exists(name) ? Read(Path.GetFullPath(name)) : throw new CliException($"no scenario file {name}.");
        }

        string path = Path.Combine(Folder, name + ".json");
        return File.Exists(path) ? Read(path) : throw new CliException($"no scenario '{name}'; there are {string.Join(", ", All().Select(scenario => scenario.Name))}, or give a file's path.");
    }

    private static Scenario Read(string path) =>
        Scenario.From(Path.GetFileNameWithoutExtension(path), path, JsonFile.TryRead(path, ScenarioJson.Default.ScenarioFile) ?? throw new CliException($"no scenario file {path}."));
}
