using Storage.Simulation.Faults;
using Storage.Simulation.Processes;

namespace Storage.Simulation.Workloads;

/// <summary>Lanes that each do one thing after the other, with pauses that the seed draws, until they are told to stop.</summary>
/// <param name="loop">The process whose clock they wait by.</param>
/// <param name="draws">What they draw from.</param>
internal abstract class Workload(NodeLoop loop, Random draws)
{
    private static readonly TimeSpan s_longestPause = TimeSpan.FromSeconds(10);

    /// <summary>Lanes that have not ended.</summary>
    public int Running { get; private set; }

    /// <summary>Whether a lane has not ended.</summary>
    public bool IsRunning => Running > 0;

    /// <summary>The process that it is a part of.</summary>
    protected NodeLoop Loop => loop;

    /// <summary>How many lanes it has.</summary>
    protected virtual int Lanes => 1;

    /// <summary>What the seed draws.</summary>
    protected Random Draws => draws;

    /// <summary>Lanes are to end.</summary>
    protected bool IsStopped { get; private set; }

    /// <summary>Nothing new is begun; what is under way goes on.</summary>
    public void Stop() => IsStopped = true;

    /// <summary>Starts the lanes; called as the process.</summary>
    /// <param name="failed">Told of what no client code expects.</param>
    public void Start(Action<Exception> failed)
    {
        for (int i = 0; i < Lanes; i++)
        {
            Running++;
            Watch(RunAsync(), failed);
        }
    }

    /// <summary>Watches a task whose failure is a failure of the run.</summary>
    internal static void Watch(Task task, Action<Exception> failed) => task.ContinueWith(
        static (done, state) => ((Action<Exception>)state!)(done.Exception!.GetBaseException()),
        failed,
        CancellationToken.None,
        TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
        TaskScheduler.Default);

    /// <summary>What a lane does until <see cref="IsStopped"/>.</summary>
    protected abstract Task LaneAsync();

    /// <summary>Waits as long as the seed says.</summary>
    /// <param name="mean">How long on average.</param>
    /// <param name="longest">Never longer than this: 10 s if not given.</param>
    protected Task PauseAsync(TimeSpan mean, TimeSpan? longest = null)
    {
        double most = (longest ?? s_longestPause).TotalSeconds;
        return Task.Delay(TimeSpan.FromSeconds(Math.Min(Exponential.Draw(draws, mean.TotalSeconds), most)), loop.TimeProvider);
    }

    private async Task RunAsync()
    {
        await LaneAsync();
        Running--;
    }
}
