using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;

namespace Storage.Cli.Local;

/// <summary>One daemon of a local cluster as a process of this machine, its own or the cluster's one: found by its pid file, which is believed only if that process's command line fits.</summary>
internal sealed partial class DaemonProcess(ClusterFile cluster, DaemonEntry daemon)
{
    private const int SignalKill = 9;
    private const int SignalTerminate = 15;
    private const int SignalContinue = 18;
    private const int SignalStop = 19;
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(10);

    public DaemonEntry Daemon { get; } = daemon;

    public string Name => Daemon.Name;

    public string Folder => Path.Combine(cluster.Folder, Name);

    public string LogFile => Path.Combine(cluster.Folder, "log", ProcessName + ".log");

    private string ProcessName => cluster.SingleProcess ? "cluster" : Name;

    private string ProcessRole => cluster.SingleProcess ? "cluster" : Daemon.Role;

    private string ProcessFolder => cluster.SingleProcess ? cluster.Folder : Folder;

    private string PidFile => Path.Combine(cluster.Folder, "run", ProcessName + ".pid");

    /// <summary>The process's id while it runs; null if it does not.</summary>
    public int? Pid
    {
        get
        {
            string text;
            try
            {
                text = File.ReadAllText(PidFile).Trim();
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                return null;
            }

            return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int pid) && IsOurs(pid) ? pid : null;
        }
    }

    /// <summary>Whether <see cref="Start"/> started it: one that ends now did so by itself, one that was dead before is only to be started.</summary>
    public bool WasStarted { get; private set; }

    /// <summary>Starts the daemon in a session of its own, its output appended to its log.</summary>
    public void Start()
    {
        if (Pid is not null)
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(LogFile)!);
        Directory.CreateDirectory(Path.GetDirectoryName(PidFile)!);
        string[] program = Program();
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardOutput = true, UseShellExecute = false, WorkingDirectory = cluster.Folder };

        // The background job is no group leader, so setsid replaces it by the daemon under the pid that the shell prints.
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("log=$1; shift; exec 3>&1; { exec 3>&-; exec setsid -- \"$@\" </dev/null >>\"$log\" 2>&1; } & echo $! >&3");
        start.ArgumentList.Add("sh");
        start.ArgumentList.Add(LogFile);
        foreach (string argument in (string[])[.. program, ProcessRole, "run", .. cluster.FaultInjection && !cluster.SingleProcess ? (string[])["--fault-injection"] : [], "--data", ProcessFolder])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["DOTNET_gcServer"] = "0";
        start.Environment["DOTNET_GCHeapCount"] = "1";

        // Diagnostics cost a thread and a socket per daemon; a profiler's user asks for them in the environment.
        start.Environment.TryAdd("DOTNET_EnableDiagnostics", "0");
        start.Environment.Remove(ClusterFile.EnvironmentVariable);
        using Process shell = Process.Start(start) ?? throw new CliException("/bin/sh did not start.");
        string printed = shell.StandardOutput.ReadLine() ?? throw new CliException($"{Name} did not start; see {LogFile}.");
        shell.WaitForExit();
        File.WriteAllText(PidFile, printed + "\n");
        WasStarted = true;
        AwaitDaemon(int.Parse(printed, CultureInfo.InvariantCulture));
    }

    // The child is a shell for a moment before it is the daemon. Who asked for it just then would take it for dead, and start it again: in a
    // cluster of one process, which every daemon of it starts, nobody would know the first one's pid any more.
    private void AwaitDaemon(int pid)
    {
        while (!IsOurs(pid) && Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}")) && !IsZombie(pid))
        {
            Thread.Sleep(1);
        }
    }

    private static bool IsZombie(int pid)
    {
        try
        {
            return State(pid) is 'Z' or 'X';
        }
        catch (IOException)
        {
            return true;
        }
    }

    // The name in parentheses may hold anything; the state follows the last of them.
    private static char State(int pid)
    {
        string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
        return stat[stat.LastIndexOf(')') + 2];
    }

    /// <summary>Asks the daemon to end, waits, and kills it if it does not.</summary>
    /// <returns>How it ended.</returns>
    public async Task<StopOutcome> StopAsync(TimeSpan patience, CancellationToken cancellation)
    {
        if (Pid is not { } pid)
        {
            Forget();
            return StopOutcome.WasNotRunning;
        }

        _ = SendSignal(pid, SignalTerminate);
        long start = Stopwatch.GetTimestamp();
        while (IsOurs(pid))
        {
            if (Stopwatch.GetElapsedTime(start) > patience)
            {
                await KillAsync(cancellation).ConfigureAwait(false);
                return StopOutcome.Killed;
            }

            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }

        Forget();
        return StopOutcome.Stopped;
    }

    /// <summary>Ends the daemon at once, as a crash would, and waits until it is gone.</summary>
    public async Task KillAsync(CancellationToken cancellation)
    {
        while (Pid is { } pid)
        {
            _ = SendSignal(pid, SignalKill);
            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }

        Forget();
    }

    /// <summary>Whether the process is stopped by a signal.</summary>
    public bool IsPaused
    {
        get
        {
            try
            {
                return Pid is { } pid && State(pid) == 'T';
            }
            catch (IOException)
            {
                return false;
            }
        }
    }

    /// <summary>Stops the process where it is (SIGSTOP): it neither runs nor dies.</summary>
    /// <returns>Whether it runs at all.</returns>
    public bool Pause() => Pid is { } pid && SendSignal(pid, SignalStop) == 0;

    /// <summary>Ends <see cref="Pause"/>.</summary>
    public void Resume()
    {
        if (Pid is { } pid)
        {
            _ = SendSignal(pid, SignalContinue);
        }
    }

    /// <summary>The newest lines of its log, for a message.</summary>
    public string LogTail(int lines) => File.Exists(LogFile) ? string.Join('\n', File.ReadLines(LogFile).TakeLast(lines)) : "(no log)";

    private void Forget() => File.Delete(PidFile);

    /// <summary>Whether a process is this daemon: its command line ends as we start it. A zombie has none.</summary>
    private bool IsOurs(int pid)
    {
        try
        {
            string line = Encoding.UTF8.GetString(File.ReadAllBytes(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/cmdline")));
            return line.TrimEnd('\0').EndsWith($"\0--data\0{ProcessFolder}", StringComparison.Ordinal) && line.Contains($"\0{ProcessRole}\0run\0", StringComparison.Ordinal);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>How this program is called.</summary>
    public static string[] Program()
    {
        string path = Environment.ProcessPath ?? throw new CliException("cannot tell what program this is.");
        return Path.GetFileNameWithoutExtension(path) == "dotnet" ? [path, Path.Combine(AppContext.BaseDirectory, "storage.dll")] : [path];
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SendSignal(int pid, int signal);
}

/// <summary>How a daemon ended.</summary>
internal enum StopOutcome
{
    WasNotRunning,
    Stopped,
    Killed,
}
