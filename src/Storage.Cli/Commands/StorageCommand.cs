using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Storage.Cli.Admin;
using Storage.Cli.Daemons;
using Storage.Cli.Data;
using Storage.Cli.Faults;
using Storage.Cli.Local;
using Storage.Cli.Offline;

namespace Storage.Cli.Commands;

/// <summary>The whole command line.</summary>
internal static class StorageCommand
{
    public static async Task<int> RunAsync(string[] arguments)
    {
        // crushtool's options belong to crushtool's parser, and offline work needs no cluster.
        if (CrushOffline.Matches(arguments))
        {
            return CrushOffline.Run(arguments);
        }

        // No @FILE: a name may begin with @.
        ParseResult parsed = Build().Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        return UsageErrors.Report(parsed) ? Verb.Failure : await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = true }).ConfigureAwait(false);
    }

    public static RootCommand Build()
    {
        var root = new RootCommand("Storage: a software-defined storage cluster. Daemons, volumes, buckets and everything an operator does.")
        {
            CommonOptions.Data,
            CommonOptions.Json,

            StatusCommands.Status(),
            StatusCommands.Health(),
            StatusCommands.Log(),
            MonitorCommands.Build(),
            OsdCommands.Build(),
            PoolCommands.Build(),
            PgCommands.Build(),
            CrushCommands.Build(),
            BalancerCommands.Build(),
            ConfigCommands.Build(),
            ObjectCommands.Build(),
            VolumeCommands.Build(),
            NbdDaemon.Command(),
            S3Commands.Build(),
            SimulateCommand.Build(),
            StoreCommands.Build(),
            LocalCommands.Endpoints(),
            LocalCommands.Daemons(),
            LocalCommands.Daemon(),
            LocalCommands.Cluster(),
            FaultCommands.Build(),
        };
        foreach (Option option in root.Options)
        {
            if (option is HelpOption { Action: HelpAction help })
            {
                option.Action = new HelpWithExamples(help);
            }
        }

        return root;
    }

    /// <summary>A command that only holds others.</summary>
    public static Command Group(string name, string description, params Command[] commands)
    {
        var group = new Command(name, description);
        foreach (Command command in commands)
        {
            group.Add(command);
        }

        return group;
    }

    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            int result = help.Invoke(parseResult);
            if (parseResult.CommandResult.Command is Verb { Examples.Count: > 0 } verb)
            {
                TextWriter output = parseResult.InvocationConfiguration.Output;
                output.WriteLine(verb.Examples.Count == 1 ? "Example:" : "Examples:");
                foreach (string example in verb.Examples)
                {
                    output.WriteLine($"  {example}");
                }

                output.WriteLine();
            }

            return result;
        }
    }
}
