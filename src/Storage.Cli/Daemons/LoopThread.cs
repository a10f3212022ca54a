using System.Globalization;
using Storage.Reactor;

namespace Storage.Cli.Daemons;

/// <summary>An event loop on a thread of its own.</summary>
internal sealed class LoopThread : IDisposable
{
    private readonly Thread _thread;
    private bool _disposed;

    /// <summary>Starts the loop.</summary>
    /// <param name="name">Name of the thread.</param>
    /// <param name="failed">Told, on the loop's thread, of the exception that ended the loop.</param>
    /// <param name="warning">Told what is worth a line in the log; may be null.</param>
    /// <param name="options">Settings of the loop; null for the defaults.</param>
    public LoopThread(string name, Action<Exception> failed, Action<string>? warning = null, ReactorOptions? options = null)
    {
        Loop = new ReactorLoop(options);
        if (Loop.WhyNotIoUring is { } why)
        {
            warning?.Invoke($"{why}. Going on with epoll and threads for files, which costs more CPU per operation");
        }

        Loop.Failed += failed;
        Loop.Warned += text => warning?.Invoke(text);
        Loop.Stalled += stalls => warning?.Invoke(Describe(stalls));
        _thread = Loop.RunOnThread(name);
    }

    public ReactorLoop Loop { get; }

    private static string Describe(LoopStalls stalls) => string.Create(
        CultureInfo.InvariantCulture,
        $"the daemon did nothing else for {stalls.Longest.TotalMilliseconds:F0} ms (garbage collection: {stalls.Collecting.TotalMilliseconds:F0} ms){(stalls.Count > 1 ? $", the longest of {stalls.Count} such times since the last report" : "")}; clients and heartbeats waited. If it goes on, the machine has too few cores or too little memory for what runs on it");

    /// <summary>Runs a function on the loop and gives its outcome to any thread.</summary>
    public Task<T> InvokeAsync<T>(Func<Task<T>> function)
    {
        var completion = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Loop.Post(
            async void (_) =>
            {
                try
                {
                    completion.SetResult(await function());
                }
#pragma warning disable CA1031 // whatever it is, it is the caller's
                catch (Exception e)
#pragma warning restore CA1031
                {
                    completion.SetException(e);
                }
            },
            null);
        return completion.Task;
    }

    /// <summary>Runs a function on the loop.</summary>
    public Task InvokeAsync(Func<Task> function) => InvokeAsync(async () =>
    {
        await function();
        return true;
    });

    /// <summary>Runs an action on the loop.</summary>
    public Task InvokeAsync(Action action) => InvokeAsync(() =>
    {
        action();
        return Task.FromResult(true);
    });

    /// <summary>Stops the loop and waits for its thread.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            Loop.Stop();
            _thread.Join();
            Loop.Dispose();
        }
    }
}
