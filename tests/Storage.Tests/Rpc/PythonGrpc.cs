using System.Diagnostics;
using Xunit;

namespace Storage.Tests.Rpc;

/// <summary>Runs scripts on Debian's python3-grpcio: an implementation of gRPC that shares nothing with ours.</summary>
internal static class PythonGrpc
{
    public static Process Start(string script, params string[] arguments)
    {
        var info = new ProcessStartInfo("/usr/bin/python3") { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        info.ArgumentList.Add("-u");
        info.ArgumentList.Add("-c");
        info.ArgumentList.Add("""
            import sys
            try:
                import grpc
            except ImportError:
                sys.exit("python3-grpcio is missing; install it with: apt-get install python3-grpcio")

            """ + script);
        foreach (string argument in arguments)
        {
            info.ArgumentList.Add(argument);
        }

        try
        {
            return Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            Assert.Fail("python3 and python3-grpcio are needed; install them with: apt-get install python3-grpcio (" + e.Message + ")");
            throw;
        }
    }

    /// <summary>Runs a script to its end; a failure of it is a failure of the test.</summary>
    public static async Task RunAsync(string script, params string[] arguments)
    {
        using Process process = Start(script, arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            Assert.Fail("The python client hangs. " + await output);
        }

        Assert.True(process.ExitCode == 0, await output + await errors);
    }
}
