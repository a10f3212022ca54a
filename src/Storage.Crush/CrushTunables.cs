namespace Storage.Crush;

/// <summary>The settings of the choice algorithm. Changing them moves data.</summary>
public sealed record CrushTunables
{
    private const int LegacyBucketAlgorithms = (1 << 1) | (1 << 2) | (1 << 4);
    private const int AllButTree = LegacyBucketAlgorithms | (1 << 5);

    /// <summary>How often a collision is retried within the same bucket.</summary>
    public int ChooseLocalTries { get; init; }

    /// <summary>How often a permutation of the bucket is tried after that.</summary>
    public int ChooseLocalFallbackTries { get; init; }

    /// <summary>How often a choice is retried from the top.</summary>
    public int ChooseTotalTries { get; init; }

    /// <summary>1: a failed leaf choice restarts the whole descent rather than retrying below.</summary>
    public int ChooseLeafDescendOnce { get; init; }

    /// <summary>0: the leaf choice ignores earlier failures; n: they shift it by r &gt;&gt; (n - 1).</summary>
    public int ChooseLeafVaryR { get; init; }

    /// <summary>1: the leaf choice does not depend on the replica's position, so that fewer mappings move.</summary>
    public int ChooseLeafStable { get; init; }

    /// <summary>Which computation of legacy straw lengths to use (0 or 1).</summary>
    public int StrawCalcVersion { get; init; }

    /// <summary>Bit set of bucket algorithms (1 &lt;&lt; <see cref="CrushBucketAlgorithm"/>) that new buckets may use.</summary>
    public int AllowedBucketAlgorithms { get; init; }

    /// <summary>What a text map means when it names no tunable; the same as <see cref="Argonaut"/>.</summary>
    public static CrushTunables Legacy => Argonaut;

    /// <summary>The profile of Ceph's first release.</summary>
    public static CrushTunables Argonaut { get; } = new()
    {
        ChooseLocalTries = 2,
        ChooseLocalFallbackTries = 5,
        ChooseTotalTries = 19,
        AllowedBucketAlgorithms = LegacyBucketAlgorithms,
    };

    /// <summary>The bobtail profile.</summary>
    public static CrushTunables Bobtail { get; } = new()
    {
        ChooseTotalTries = 50,
        ChooseLeafDescendOnce = 1,
        AllowedBucketAlgorithms = LegacyBucketAlgorithms,
    };

    /// <summary>The firefly profile: bobtail with vary_r.</summary>
    public static CrushTunables Firefly { get; } = Bobtail with { ChooseLeafVaryR = 1 };

    /// <summary>The hammer profile: firefly with straw2.</summary>
    public static CrushTunables Hammer { get; } = Firefly with { AllowedBucketAlgorithms = AllButTree };

    /// <summary>The jewel profile: hammer with chooseleaf_stable and the corrected straw lengths.</summary>
    public static CrushTunables Jewel { get; } = Hammer with { ChooseLeafStable = 1, StrawCalcVersion = 1 };

    /// <summary>The best known profile, today <see cref="Jewel"/>.</summary>
    public static CrushTunables Optimal => Jewel;

    /// <summary>The profile of new maps, today <see cref="Jewel"/>.</summary>
    public static CrushTunables Default => Jewel;

    /// <summary>Looks a profile up by the name operators know: argonaut, legacy, bobtail, firefly, hammer, jewel, optimal or default.</summary>
    /// <returns>Null when there is no such profile.</returns>
    public static CrushTunables? FindProfile(string name) => name switch
    {
        "argonaut" or "legacy" => Argonaut,
        "bobtail" => Bobtail,
        "firefly" => Firefly,
        "hammer" => Hammer,
        "jewel" or "optimal" or "default" => Jewel,
        _ => null,
    };
}
