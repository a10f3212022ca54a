using System.CommandLine;
using Microsoft.Extensions.Logging;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cluster;

namespace Storage.Cli.Daemons;

/// <summary>Options that all daemons' verbs share.</summary>
internal static class DaemonOptions
{
    public static Option<LogLevel> LogLevelOption { get; } = new("--log-level")
    {
        Description = "The least severe level that is logged.",
        DefaultValueFactory = _ => LogLevel.Information,
    };

    public static Option<string> LogFormatOption { get; } = NewLogFormat();

    public static Option<bool> FaultInjectionOption { get; } = new("--fault-injection")
    {
        Description = "Take faults from 'storage fault' at the socket fault.sock in the data folder. For tests only; off unless given.",
    };

    public static Option<bool> InsecureNetworkOption { get; } = new("--insecure-network")
    {
        Description = "Allow addresses other than loopback, though connections are neither encrypted nor authenticated: for a network that only the cluster's machines can reach.",
    };

    public static Option<string?> BindOption { get; } = new("--bind")
    {
        Description = "IP address to listen on, in place of the one that others are told; 0.0.0.0 for all.",
        HelpName = "ADDRESS",
    };

    /// <summary>The daemon's data folder.</summary>
    /// <exception cref="CliException">None is given.</exception>
    public static string Folder(Invocation run) =>
        run.Data is { Length: > 0 } folder ? Path.GetFullPath(folder) : throw new CliException("name the daemon's data folder with --data DIR.");

    /// <summary>The folder of the socket at which the daemon takes faults; null, the default, if it takes none.</summary>
    public static string? FaultFolder(Invocation run) => run.Get(FaultInjectionOption) ? Folder(run) : null;

    public static bool InsecureNetwork(Invocation run) => run.Get(InsecureNetworkOption);

    /// <summary>The host to listen on in place of an address that others are told; null for none.</summary>
    /// <exception cref="CliException">It is no IP address, or not allowed.</exception>
    public static string? Bind(Invocation run, NodeAddress told)
    {
        if (run.Get(BindOption) is { } host)
        {
            AddressRules.Check(told with { Host = host }, InsecureNetwork(run));
        }

        return run.Get(BindOption);
    }

    public static DaemonLogging Logging(Invocation run) => new(run.Get(LogLevelOption), run.Get(LogFormatOption) == "json");

    /// <summary>Adds the options to a daemon's run verb.</summary>
    public static Verb AddTo(Verb verb)
    {
        verb.Add(LogLevelOption);
        verb.Add(LogFormatOption);
        verb.Add(FaultInjectionOption);
        verb.Add(InsecureNetworkOption);
        return verb;
    }

    private static Option<string> NewLogFormat()
    {
        var option = new Option<string>("--log-format") { Description = "How log lines look: text or json.", DefaultValueFactory = _ => "text" };
        option.AcceptOnlyFromAmong("text", "json");
        return option;
    }
}
