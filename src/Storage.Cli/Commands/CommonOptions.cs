using System.CommandLine;

namespace Storage.Cli.Commands;

/// <summary>Options that every verb takes, before or after it.</summary>
internal static class CommonOptions
{
    public static Option<string?> Data { get; } = new("--data")
    {
        Description = "The cluster's data folder, or a daemon's own for 'mkfs' and 'run'. Default: $STORAGE_CLUSTER, else cluster/data.",
        HelpName = "DIR",
        Recursive = true,
    };

    public static Option<bool> Json { get; } = new("--json")
    {
        Description = "Print JSON, for scripts.",
        Recursive = true,
    };
}
