using System.CommandLine;
using Google.Protobuf;
using Spectre.Console;
using Storage.Cli.Configuration;
using Storage.Rpc.Admin;
using Storage.Rpc.Client;

namespace Storage.Cli.Commands;

/// <summary>One run of a command: its arguments, the cluster it talks to and how it prints. What is costly is made on first use.</summary>
internal sealed class Invocation(ParseResult parsed) : IDisposable
{
    private RpcChannel? _channel;
    private AdminClient? _admin;
    private ClusterFile? _cluster;
    private IAnsiConsole? _console;

    public bool Json => parsed.GetValue(CommonOptions.Json);

    public string? Data => parsed.GetValue(CommonOptions.Data);

    /// <summary>The cluster's description.</summary>
    /// <exception cref="CliException">There is none where it was looked for.</exception>
    public ClusterFile Cluster => _cluster ??= ClusterFile.Find(Data);

    /// <summary>The monitors' admin API.</summary>
    public AdminClient Admin
    {
        get
        {
            _channel ??= AdminChannel.Create(Cluster.Monitors.Select(monitor => monitor.AdminAddress));
            return _admin ??= new AdminClient(_channel);
        }
    }

    /// <summary>Standard output.</summary>
    public IAnsiConsole Out => _console ??= Terminal.Create(Console.Out, Console.IsOutputRedirected);

    public T Get<T>(Argument<T> argument) => parsed.GetRequiredValue(argument);

    public T? Get<T>(Option<T> option) => parsed.GetValue(option);

    public bool Has(Option option) => parsed.GetResult(option) is { Implicit: false };

    /// <summary>Prints a reply: as JSON if that was asked for, else by the given function.</summary>
    public void Print(IMessage reply, Action<IAnsiConsole> text)
    {
        if (Json)
        {
            Console.Out.WriteLine(MessageJson.Write(reply));
        }
        else
        {
            text(Out);
        }
    }

    /// <summary>Prints a line, or with --json the object.</summary>
    public void Print(IMessage reply, string line) => Print(reply, console => console.WriteLine(line));

    public void Dispose() => _channel?.Dispose();
}
