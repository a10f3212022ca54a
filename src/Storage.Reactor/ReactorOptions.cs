using System.Globalization;

namespace Storage.Reactor;

/// <summary>What carries out a loop's operations.</summary>
public enum LoopEngine
{
    /// <summary>io_uring where the kernel has and allows it, else epoll.</summary>
    Automatic,

    /// <summary>io_uring; Linux 5.11 or later.</summary>
    IoUring,

    /// <summary>epoll for sockets, and blocking calls on a few threads for files. Costs more system calls and hand-overs per operation.</summary>
    Epoll,
}

/// <summary>Settings of a <see cref="ReactorLoop"/>.</summary>
public sealed record ReactorOptions
{
    private static readonly LoopEngine s_engine = ParseEngine(Environment.GetEnvironmentVariable("STORAGE_LOOP"));
    private static readonly TimeSpan s_stallThreshold = ParseStallThreshold(Environment.GetEnvironmentVariable("STORAGE_LOOP_STALL_MS"));
    private static readonly TimeSpan? s_spin = ParseSpin(Environment.GetEnvironmentVariable("STORAGE_LOOP_SPIN_US"));
    private static readonly TimeSpan? s_idleLatency = Reactor.IdleLatency.Parse(Environment.GetEnvironmentVariable("STORAGE_IDLE_LATENCY_US"));

    /// <summary>What carries out the operations. Default: what the environment variable <c>STORAGE_LOOP</c> says (<c>io_uring</c> or <c>epoll</c>), else
    /// <see cref="LoopEngine.Automatic"/>.</summary>
    public LoopEngine Engine { get; init; } = s_engine;

    /// <summary>Submission entries, a power of two; a pass that queues more costs an extra system call. Default 1024.</summary>
    public int Entries { get; init; } = 1024;

    /// <summary>
    /// How long an idle loop watches its rings before it sleeps; on io_uring only. Default: what the environment variable <c>STORAGE_LOOP_SPIN_US</c> says, in
    /// microseconds, else zero: it pays only where loops do not compete for cores.
    /// </summary>
    public TimeSpan Spin { get; init; } = s_spin ?? TimeSpan.Zero;

    /// <summary>While the loop is woken often (500 times a second and more), how long a core of this machine may take to come out of its sleep; null: as long as it
    /// likes. Default: what the environment variable <c>STORAGE_IDLE_LATENCY_US</c> says, in microseconds or <c>off</c>, else 0 in virtual machines whose idle cores may poll,
    /// and 2 µs on others. Needs the right to write to <see cref="IdleLatencyDevice"/>; without it <see cref="ReactorLoop.Warned"/> tells once, and the loop goes on.</summary>
    public TimeSpan? IdleLatency { get; init; } = s_idleLatency;

    /// <summary>The kernel's device for <see cref="IdleLatency"/>.</summary>
    public string IdleLatencyDevice { get; init; } = "/dev/cpu_dma_latency";

    /// <summary>How long a pass may take before <see cref="ReactorLoop.Stalled"/> tells of it. Default: what the environment variable
    /// <c>STORAGE_LOOP_STALL_MS</c> says, in milliseconds, else 200 ms.</summary>
    public TimeSpan StallThreshold { get; init; } = s_stallThreshold;

    /// <summary>From the loop's making, how long nothing is told of passes that take too long: a store that opens has its time. Default 10 s.</summary>
    public TimeSpan StallGrace { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long <see cref="ReactorLoop.Run"/> waits, at its end, for operations the kernel has not finished. Default 10 s.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(10);

    private static TimeSpan ParseStallThreshold(string? text)
    {
        const double Default = 200;
        double milliseconds = Default;
        return string.IsNullOrEmpty(text) || (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out milliseconds) && milliseconds is >= 1 and <= 1e6)
            ? TimeSpan.FromMilliseconds(milliseconds)
            : throw new NotSupportedException($"STORAGE_LOOP_STALL_MS is '{text}'; it may be a number of milliseconds from 1 to 1000000");
    }

    /// <summary>The settings of a loop that may have a core to itself: it spins, unless the environment says otherwise or there is no second core.</summary>
    public static ReactorOptions OfLoneLoop() => new() { Spin = s_spin ?? (Environment.ProcessorCount > 1 ? TimeSpan.FromMicroseconds(60) : TimeSpan.Zero) };

    /// <summary>Reads a setting.</summary>
    /// <param name="text">A number of microseconds, or nothing for null.</param>
    /// <exception cref="NotSupportedException">It is neither.</exception>
    public static TimeSpan? ParseSpin(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int microseconds) && microseconds <= 10_000
            ? TimeSpan.FromMicroseconds(microseconds)
            : throw new NotSupportedException($"STORAGE_LOOP_SPIN_US is '{text}'; it may be a number of microseconds from 0 to 10000");
    }

    private static LoopEngine ParseEngine(string? text) => text switch
    {
        null or "" or "auto" => LoopEngine.Automatic,
        "io_uring" => LoopEngine.IoUring,
        "epoll" => LoopEngine.Epoll,
        _ => throw new NotSupportedException($"STORAGE_LOOP is '{text}'; it may be auto, io_uring or epoll"),
    };
}
