namespace Storage.Reactor;

/// <summary>
/// Keeps <c>async</c> code on its loop. What completes on the loop continues inline (the runtime sees the same context);
/// what completes elsewhere is posted.
/// </summary>
internal sealed class LoopSynchronizationContext(IEventLoop loop) : SynchronizationContext
{
    private sealed record Work(SendOrPostCallback Callback, object? State);

    public override void Post(SendOrPostCallback d, object? state) =>
        loop.Post(static s =>
        {
            var work = (Work)s!;
            work.Callback(work.State);
        }, new Work(d, state));

    public override void Send(SendOrPostCallback d, object? state)
    {
        ArgumentNullException.ThrowIfNull(d);
        if (!loop.IsCurrent)
        {
            throw new NotSupportedException("waiting for a loop from another thread is not supported; post instead");
        }

        d(state);
    }

    public override SynchronizationContext CreateCopy() => this;
}
