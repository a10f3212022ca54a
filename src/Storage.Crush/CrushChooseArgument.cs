namespace Storage.Crush;

/// <summary>Replacement weights and ids for one bucket in a set of choose_args (a weight-set). Immutable.</summary>
public sealed class CrushChooseArgument
{
    internal readonly uint[][] WeightSets;
    internal readonly int[]? Ids;

    internal CrushChooseArgument(uint[][] weightSets, int[]? ids)
    {
        WeightSets = weightSets;
        Ids = ids;
    }

    /// <summary>For how many positions of the result there are weights; later positions use the last.</summary>
    public int PositionCount => WeightSets.Length;

    /// <summary>The weights, 16.16 fixed point, for a position of the result, in the order of the bucket's items.</summary>
    public ReadOnlySpan<uint> WeightsAt(int position) => WeightSets[Math.Min(position, WeightSets.Length - 1)];

    /// <summary>The ids that enter the hash in place of the items' own; empty when they are not replaced.</summary>
    public ReadOnlySpan<int> ReplacementIds => Ids;
}
