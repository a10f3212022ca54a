using System.Diagnostics;
using System.Text.RegularExpressions;
using Storage.Simulation.Faults;

namespace Storage.Simulation.Running;

/// <summary>
/// Makes the scenario of a seed that failed smaller, as long as the seed goes on failing in the same way: faults are left out (delta
/// debugging), then clients, volumes and objects, then time.
/// </summary>
public sealed partial class ScenarioShrinker
{
    private readonly ulong _seed;
    private readonly string _failure;
    private readonly TimeSpan _patience;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly Func<ulong, Scenario, SimulationResult> _run;
    private Scenario _best;

    /// <summary>Prepares.</summary>
    /// <param name="failed">What failed.</param>
    /// <param name="scenario">Its scenario.</param>
    /// <param name="patience">When to end with what was found so far.</param>
    /// <param name="run">Runs a seed; null for <see cref="SimulationRun"/>.</param>
    public ScenarioShrinker(SimulationResult failed, Scenario scenario, TimeSpan patience, Func<ulong, Scenario, SimulationResult>? run = null)
    {
        ArgumentNullException.ThrowIfNull(failed);
        ArgumentNullException.ThrowIfNull(scenario);
        _seed = failed.Seed;
        _failure = ClassOf(failed.Failure ?? throw new ArgumentException("the run did not fail", nameof(failed)));
        _patience = patience;
        _run = run ?? (static (seed, tried) => new SimulationRun(seed, tried).Execute());
        _best = scenario with { Plan = failed.Plan };
    }

    /// <summary>Runs that it took.</summary>
    public int Runs { get; private set; }

    /// <summary>Shrinks.</summary>
    /// <returns>The smallest scenario found with which the seed fails in the same way.</returns>
    public Scenario Shrink()
    {
        ShrinkFaults();
        Try(_best with { Volumes = 0 });
        while (_best.Clients > 1 && Try(_best with { Clients = _best.Clients - 1 }))
        {
        }

        while (_best.Concurrency > 1 && Try(_best with { Concurrency = _best.Concurrency - 1 }))
        {
        }

        while (_best.Objects > 1 && Try(_best with { Objects = _best.Objects / 2 }))
        {
        }

        while (_best.Duration > TimeSpan.FromSeconds(1) && Try(_best with { Duration = _best.Duration * 0.6 }))
        {
        }

        ShrinkFaults(); // fewer may do now
        return _best;
    }

    /// <summary>What a failure is, apart from the numbers, names and times of one run.</summary>
    /// <param name="failure">The text.</param>
    /// <returns>The same text for failures of one kind.</returns>
    public static string ClassOf(string failure)
    {
        ArgumentNullException.ThrowIfNull(failure);
        string line = Particulars().Replace(failure.Split('\n')[0], "#");
        return line[..Math.Min(line.Length, 70)];
    }

    [GeneratedRegex("[0-9a-f]*[0-9][0-9a-f.':]*|\\[[^]]*\\]", RegexOptions.CultureInvariant)]
    private static partial Regex Particulars();

    // Zeller's ddmin: without large parts first, then without smaller ones.
    private void ShrinkFaults()
    {
        int parts = 2;
        while (_best.Plan!.Faults.Count > 0 && _clock.Elapsed < _patience)
        {
            IReadOnlyList<Fault> faults = _best.Plan.Faults;
            parts = Math.Min(parts, faults.Count);
            bool smaller = false;
            for (int i = 0; i < parts && !smaller; i++)
            {
                int from = (int)((long)faults.Count * i / parts), to = (int)((long)faults.Count * (i + 1) / parts);
                smaller = Try(_best with { Plan = new FaultPlan([.. faults.Take(from), .. faults.Skip(to)]) });
            }

            if (smaller)
            {
                parts = Math.Max(2, parts - 1);
            }
            else if (parts == faults.Count)
            {
                return;
            }
            else
            {
                parts *= 2;
            }
        }
    }

    private bool Try(Scenario scenario)
    {
        if (_clock.Elapsed >= _patience)
        {
            return false;
        }

        Runs++;
        SimulationResult result = _run(_seed, scenario);
        if (result.Failure is null || ClassOf(result.Failure) != _failure)
        {
            return false;
        }

        _best = scenario;
        return true;
    }
}
