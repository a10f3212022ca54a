using Storage.Messaging;

namespace Storage.Simulation.Histories;

/// <summary>What a check of one object's history found.</summary>
public enum Verdict
{
    /// <summary>There is an order of the calls that explains every answer.</summary>
    Linearizable,

    /// <summary>There is none.</summary>
    Violation,

    /// <summary>The search was given up; too many calls without a known outcome overlap.</summary>
    Undecided,
}

/// <summary>The outcome of a check.</summary>
/// <param name="Verdict">What was found.</param>
/// <param name="Explanation">For a violation: how far the calls can be explained, and what contradicts. Empty otherwise.</param>
/// <param name="Steps">States looked at.</param>
public sealed record CheckResult(Verdict Verdict, string Explanation, long Steps);

/// <summary>
/// Decides whether the calls on one object can have happened one after the other, each at some moment between its beginning and its end,
/// with the answers that clients got (Wing and Gong's search with Lowe's memory of configurations). Calls without a known outcome may have
/// happened at any moment after their beginning, or never.
/// </summary>
public static class LinearizabilityChecker
{
    /// <summary>Checks the calls on one object, which is missing at the start.</summary>
    /// <param name="entries">The calls, in order of beginning.</param>
    /// <param name="maxSteps">States to look at before giving up.</param>
    /// <returns>The outcome.</returns>
    public static CheckResult Check(IReadOnlyList<HistoryEntry> entries, long maxSteps = 500_000)
    {
        ArgumentNullException.ThrowIfNull(entries);
        // Reads that never ended say nothing.
        HistoryEntry[] calls = [.. entries.Where(e => e.Outcome is not null || e.Call.IsWrite)];
        return new Search(calls, maxSteps).Run();
    }

    private sealed class Search(HistoryEntry[] calls, long maxSteps)
    {
        private readonly HashSet<Configuration> _seen = [];
        private readonly ulong[] _taken = new ulong[(calls.Length + 63) / 64];
        private readonly List<int> _order = [];
        private int _completedLeft = calls.Count(c => c.Outcome is not null);
        private int _first; // the calls before it are all taken
        private int _bestLength; // this much of the order under way is the best so far, and not written down yet; 0 if it is
        private int[] _bestOrder = [];
        private int _bestLeft = int.MaxValue;
        private ObjectState _bestState = ObjectState.Missing;
        private long _steps;

        public CheckResult Run()
        {
            var stack = new Stack<Frame>();
            ObjectState state = ObjectState.Missing;
            Frame frame = Open(state);
            while (true)
            {
                if (_completedLeft == 0)
                {
                    return new CheckResult(Verdict.Linearizable, "", _steps);
                }

                if (frame.Next < frame.Candidates.Count)
                {
                    (int index, ObjectState after) = frame.Candidates[frame.Next++];
                    Take(index);
                    if (_seen.Add(new Configuration((ulong[])_taken.Clone(), after.Fingerprint)))
                    {
                        if (++_steps > maxSteps)
                        {
                            return new CheckResult(Verdict.Undecided, $"{calls.Length} calls, {_steps} states", _steps);
                        }

                        stack.Push(frame);
                        state = after;
                        frame = Open(state);
                    }
                    else
                    {
                        Untake(index);
                    }

                    continue;
                }

                if (!stack.TryPop(out Frame? parent))
                {
                    return new CheckResult(Verdict.Violation, Explain(), _steps);
                }

                frame = parent;
                Untake(frame.Candidates[frame.Next - 1].Index);
            }
        }

        private Frame Open(ObjectState state)
        {
            if (_completedLeft < _bestLeft)
            {
                _bestLeft = _completedLeft;
                _bestState = state;
                _bestLength = _order.Count;
            }

            while (_first < calls.Length && IsTaken(_first))
            {
                _first++;
            }

            // Only a call that began before the first end among those left can be next. What begins after that end also ends after it.
            long firstEnd = long.MaxValue;
            for (int i = _first; i < calls.Length && calls[i].InvokedOrder < firstEnd; i++)
            {
                if (!IsTaken(i))
                {
                    firstEnd = Math.Min(firstEnd, calls[i].CompletedOrder);
                }
            }

            var known = new List<(int Index, ObjectState After)>();
            var unknown = new List<(int Index, ObjectState After)>();
            for (int i = _first; i < calls.Length && calls[i].InvokedOrder < firstEnd; i++)
            {
                if (IsTaken(i))
                {
                    continue;
                }

                HistoryEntry call = calls[i];
                if (call.Outcome is null)
                {
                    (ResultCode result, ObjectState effect) = state.Apply(call.Call);
                    if (result == ResultCode.Ok && effect.Fingerprint != state.Fingerprint)
                    {
                        unknown.Add((i, effect)); // without an effect it might as well never happen
                    }

                    if (state.AppliesOtherwise(call.Call, out effect) && effect.Fingerprint != state.Fingerprint)
                    {
                        unknown.Add((i, effect));
                    }
                }
                else if (state.Explains(call.Call, call.Outcome, out ObjectState after))
                {
                    if (!call.Call.IsWrite || call.Outcome.Result != ResultCode.Ok)
                    {
                        // It changes nothing, wherever it stands, and fits here: if an order is right with it later, so it is with it now.
                        return new Frame([(i, state)]);
                    }

                    known.Add((i, after));
                    if (call.Outcome.Result == ResultCode.Ok && state.AppliesOtherwise(call.Call, out after))
                    {
                        known.Add((i, after));
                    }
                }
            }

            // What the cluster said of versions is a good guess at the order, no more.
            known.Sort((a, b) => Rank(calls[a.Index]).CompareTo(Rank(calls[b.Index])));
            known.AddRange(unknown);
            return new Frame(known);

            static (ulong, long) Rank(HistoryEntry entry) =>
                (entry.Outcome!.Version == 0 ? ulong.MaxValue : entry.Outcome.Version, entry.CompletedOrder);
        }

        private string Explain()
        {
            var lines = new List<string> { $"{calls.Length} calls; the longest explanation leaves {_bestLeft} answers unexplained" };
            lines.Add("last calls of it:");
            lines.AddRange(_bestOrder.TakeLast(12).Select(i => "  " + calls[i]));
            lines.Add($"then the object is: {_bestState}");
            lines.Add("and none of these fits next:");
            var taken = _bestOrder.ToHashSet();
            long firstEnd = calls.Where((_, i) => !taken.Contains(i)).Min(c => c.CompletedOrder);
            lines.AddRange(calls.Where((c, i) => !taken.Contains(i) && c.InvokedOrder < firstEnd).Select(c => "  " + c));
            return string.Join('\n', lines);
        }

        private bool IsTaken(int index) => (_taken[index >> 6] >> (index & 63) & 1) != 0;

        private void Take(int index)
        {
            _taken[index >> 6] |= 1UL << (index & 63);
            _order.Add(index);
            _completedLeft -= calls[index].Outcome is null ? 0 : 1;
        }

        private void Untake(int index)
        {
            if (_bestLength == _order.Count)
            {
                _bestOrder = [.. _order];
                _bestLength = 0;
            }

            _first = Math.Min(_first, index);
            _taken[index >> 6] &= ~(1UL << (index & 63));
            _order.RemoveAt(_order.Count - 1);
            _completedLeft += calls[index].Outcome is null ? 0 : 1;
        }
    }

    private sealed class Frame(List<(int Index, ObjectState After)> candidates)
    {
        public List<(int Index, ObjectState After)> Candidates => candidates;

        public int Next { get; set; }
    }

    private readonly struct Configuration(ulong[] taken, ulong state) : IEquatable<Configuration>
    {
        private readonly ulong[] _taken = taken;
        private readonly ulong _state = state;

        public bool Equals(Configuration other) => _state == other._state && _taken.AsSpan().SequenceEqual(other._taken);

        public override bool Equals(object? obj) => obj is Configuration other && Equals(other);

        public override int GetHashCode()
        {
            ulong hash = _state;
            foreach (ulong word in _taken)
            {
                hash = (hash ^ word) * 0x9E3779B97F4A7C15;
                hash ^= hash >> 32;
            }

            return (int)hash;
        }
    }
}
