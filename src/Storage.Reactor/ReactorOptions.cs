namespace Storage.Reactor;

/// <summary>Settings of a <see cref="ReactorLoop"/>.</summary>
public sealed record ReactorOptions
{
    /// <summary>Submission entries, a power of two; a pass that queues more costs an extra system call. Default 1024.</summary>
    public int Entries { get; init; } = 1024;

    /// <summary>
    /// How long an idle loop watches its rings before it sleeps. Default zero: spinning pays only with a core to spare.
    /// </summary>
    public TimeSpan Spin { get; init; }

    /// <summary>How long <see cref="ReactorLoop.Run"/> waits, at its end, for operations the kernel has not finished. Default 10 s.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
