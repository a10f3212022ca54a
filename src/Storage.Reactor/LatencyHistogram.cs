using System.Numerics;

namespace Storage.Reactor;

/// <summary>Counts latencies in buckets about 3 % wide, from 32 ns up. Not thread-safe; never allocates after it is made.</summary>
public sealed class LatencyHistogram
{
    /// <summary>Buckets to a power of two.</summary>
    private const int Fine = 32;

    private readonly long[] _buckets = new long[64 * Fine];
    private double _sum;

    /// <summary>Latencies counted.</summary>
    public long Count { get; private set; }

    /// <summary>The longest of them, exactly.</summary>
    public TimeSpan Longest { get; private set; }

    /// <summary>Their mean; zero if there are none.</summary>
    public TimeSpan Mean => Count == 0 ? TimeSpan.Zero : TimeSpan.FromMicroseconds(_sum / Count);

    /// <summary>Counts one.</summary>
    /// <param name="latency">Zero or more.</param>
    public void Add(TimeSpan latency)
    {
        long nanoseconds = Math.Max(Fine, (long)latency.TotalNanoseconds);
        int power = BitOperations.Log2((ulong)nanoseconds);
        _buckets[power * Fine + (int)((nanoseconds >> (power - 5)) & (Fine - 1))]++;
        _sum += latency.TotalMicroseconds;
        Count++;
        Longest = latency > Longest ? latency : Longest;
    }

    /// <summary>The latency that a share of all do not exceed; the upper end of its bucket, so up to 3 % too much.</summary>
    /// <param name="share">From 0 to 1.</param>
    /// <returns>Zero if nothing was counted.</returns>
    public TimeSpan Percentile(double share)
    {
        long rest = (long)Math.Ceiling(Count * share);
        for (int i = 0; i < _buckets.Length; i++)
        {
            rest -= _buckets[i];
            if (rest <= 0 && Count > 0)
            {
                double end = Math.ScaleB(1 + ((i % Fine) + 1) / (double)Fine, i / Fine);
                return TimeSpan.FromMicroseconds(Math.Min(end / 1000, Longest.TotalMicroseconds));
            }
        }

        return TimeSpan.Zero;
    }
}
