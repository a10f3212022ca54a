using Storage.Reactor;
using Xunit;

namespace Storage.Tests.Reactor;

/// <summary>A running loop for one test, and a way to run a script of callbacks on it from the test's thread.</summary>
internal sealed class LoopFixture : IDisposable
{
    private readonly Thread _thread;
    private Exception? _failure;

    public LoopFixture(ReactorOptions? options = null)
    {
        Loop = new ReactorLoop(options);
        Loop.Failed += e =>
        {
            _failure = e;
            Finished.Set();
        };
        _thread = Loop.RunOnThread("test loop");
    }

    public ReactorLoop Loop { get; }

    public ManualResetEventSlim Finished { get; } = new();

    public Exception? Failure => _failure;

    public BufferPool Pool { get; } = new(trace: true);

    public void Post(Action action) => Loop.Post(static a => ((Action)a!)(), action);

    public void Await(int seconds = 20)
    {
        bool done = Finished.Wait(TimeSpan.FromSeconds(seconds));
        if (_failure is not null)
        {
            throw new InvalidOperationException("the loop failed", _failure);
        }

        Assert.True(done, "the test's end was not reached in time");
        Finished.Reset();
    }

    public void Run(Action action)
    {
        Post(() =>
        {
            action();
            Finished.Set();
        });
        Await();
    }

    public void AssertNoBuffersOut() => Assert.True(Pool.Outstanding == 0, string.Join("\n\n", Pool.OutstandingTraces));

    public void Dispose()
    {
        Loop.Stop();
        Assert.True(_thread.Join(TimeSpan.FromSeconds(10)));
        Loop.Dispose();
        if (_failure is not null)
        {
            throw new InvalidOperationException("the loop failed", _failure);
        }
    }
}

internal sealed class CallbackCompletion(Action<int, uint> callback) : IoCompletion
{
    protected override void OnCompleted(int result, uint flags) => callback(result, flags);
}
