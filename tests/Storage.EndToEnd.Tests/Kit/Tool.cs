using System.Diagnostics;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>Runs programs as a user would.</summary>
public static class Tool
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(4);

    public sealed record Result(string Command, int ExitCode, string Output, string Error)
    {
        public Result Expect(int exitCode = 0)
        {
            Assert.True(ExitCode == exitCode, $"'{Command}' ended with {ExitCode}, not {exitCode}:\n{Output}\n{Error}");
            return this;
        }
    }

    public static Task<Result> RunAsync(string program, params string[] arguments) => RunAsync(null, program, arguments);

    public static async Task<Result> RunAsync(IReadOnlyDictionary<string, string>? environment, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment.Remove("AWS_CA_BUNDLE"); // rclone takes it as a certificate file and refuses to start without TLS
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        using var patience = new CancellationTokenSource(s_patience);
        Task<string> output = process.StandardOutput.ReadToEndAsync(patience.Token);
        Task<string> error = process.StandardError.ReadToEndAsync(patience.Token);
        string command = $"{program} {string.Join(' ', arguments)}";
        try
        {
            await process.WaitForExitAsync(patience.Token);
            return new Result(command, process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"'{command}' did not end within {s_patience}");
        }
    }
}
