using System.CommandLine;
using Storage.Client;
using Storage.Coding;
using Storage.Rpc;

namespace Storage.Cli.Commands;

/// <summary>A command with examples in its help, and one place where failures become messages and exit codes.</summary>
internal sealed class Verb : Command
{
    /// <summary>Exit code of a command that failed.</summary>
    public const int Failure = 1;

    public Verb(string name, string description, params string[] examples) : base(name, description) => Examples = examples;

    /// <summary>Lines to try, as they are typed.</summary>
    public IReadOnlyList<string> Examples { get; }

    /// <summary>Sets what the command does.</summary>
    /// <param name="action">Returns the process's exit code.</param>
    public Verb Does(Func<Invocation, CancellationToken, Task<int>> action)
    {
        SetAction(async (parsed, cancellation) =>
        {
            using var invocation = new Invocation(parsed);
            try
            {
                return await action(invocation, cancellation).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
            {
                return 130;
            }
            catch (Exception e) when (Describe(e) is { } text)
            {
                await Console.Error.WriteLineAsync($"storage: {text}").ConfigureAwait(false);
                return Failure;
            }
        });
        return this;
    }

    /// <summary>Sets what the command does; it ends with exit code 0 unless it throws.</summary>
    public Verb Does(Func<Invocation, CancellationToken, Task> action) => Does(async (invocation, cancellation) =>
    {
        await action(invocation, cancellation).ConfigureAwait(false);
        return 0;
    });

    /// <summary>The message for a failure that users may cause or meet; null for what is a fault of the program.</summary>
    private static string? Describe(Exception e) => e switch
    {
        CliException => e.Message,
        RpcException { Code: StatusCode.Unavailable } rpc =>
            $"no monitor serves requests: {rpc.Status.Message}. Is the cluster running (storage daemons), and a majority of its monitors?",
        RpcException { Code: StatusCode.DeadlineExceeded } rpc =>
            $"the monitors did not answer in time: {rpc.Status.Message}. If this was a change, look with 'storage log last' whether it was made before you repeat it; see also 'storage mon status'.",
        RpcException rpc => rpc.Status.Message.Length > 0 ? rpc.Status.Message : rpc.Code.ToString(),
        ArgumentException { ParamName: { } parameter } => e.Message.Replace($" (Parameter '{parameter}')", "", StringComparison.Ordinal), // which means nothing to a user
        ObjectOperationException or IOException or UnauthorizedAccessException or ArgumentException or InvalidOperationException
            or FormatException or MalformedDataException or TimeoutException or NotSupportedException => e.Message,
        TypeInitializationException { InnerException: { } inner } => Describe(inner), // settings from the environment are read once per process
        _ => null,
    };
}
