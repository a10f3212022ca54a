namespace Storage.Crush;

/// <summary>What kind of pool a rule serves. The values are those of the binary form.</summary>
public enum CrushRuleType
{
    /// <summary>Copies.</summary>
    Replicated = 1,

    /// <summary>Erasure-coded shards, whose positions matter.</summary>
    Erasure = 3,
}

/// <summary>What a step of a rule does. The values are those of the binary form.</summary>
public enum CrushStepKind
{
    /// <summary>Nothing.</summary>
    Noop = 0,

    /// <summary>Start at an item (argument 1).</summary>
    Take = 1,

    /// <summary>Choose argument 1 items of type argument 2, shorter when some cannot be had.</summary>
    ChooseFirstN = 2,

    /// <summary>Choose argument 1 items of type argument 2, each position on its own, holes where none can be had.</summary>
    ChooseIndep = 3,

    /// <summary>Append what was chosen to the result.</summary>
    Emit = 4,

    /// <summary>As <see cref="ChooseFirstN"/>, then one device below each.</summary>
    ChooseLeafFirstN = 6,

    /// <summary>As <see cref="ChooseIndep"/>, then one device below each.</summary>
    ChooseLeafIndep = 7,

    /// <summary>Overrides how often a choice is tried.</summary>
    SetChooseTries = 8,

    /// <summary>Overrides how often the choice of a leaf is tried.</summary>
    SetChooseLeafTries = 9,

    /// <summary>Overrides the tunable choose_local_tries.</summary>
    SetChooseLocalTries = 10,

    /// <summary>Overrides the tunable choose_local_fallback_tries.</summary>
    SetChooseLocalFallbackTries = 11,

    /// <summary>Overrides the tunable chooseleaf_vary_r.</summary>
    SetChooseLeafVaryR = 12,

    /// <summary>Overrides the tunable chooseleaf_stable.</summary>
    SetChooseLeafStable = 13,
}

/// <summary>One step of a rule.</summary>
/// <param name="Kind">What it does.</param>
/// <param name="Argument1">An item id (take), a count (choose; 0 or negative is relative to the wanted size) or a value (set).</param>
/// <param name="Argument2">A type id (choose), else 0.</param>
public readonly record struct CrushStep(CrushStepKind Kind, int Argument1 = 0, int Argument2 = 0);

/// <summary>A placement rule: the steps that turn an input into a list of devices. Immutable.</summary>
public sealed class CrushRule
{
    internal readonly CrushStep[] StepArray;

    /// <summary>Makes a rule.</summary>
    /// <param name="id">0 to 255.</param>
    /// <param name="type">The kind of pool; values beyond the known are kept.</param>
    /// <param name="minSize">The smallest pool size it is meant for, 0 to 255; informative.</param>
    /// <param name="maxSize">The largest pool size it is meant for, 0 to 255; informative.</param>
    /// <param name="steps">The steps in order; copied.</param>
    public CrushRule(int id, CrushRuleType type, int minSize, int maxSize, ReadOnlySpan<CrushStep> steps)
        : this(id, id, type, minSize, maxSize, steps)
    {
    }

    internal CrushRule(int id, int ruleset, CrushRuleType type, int minSize, int maxSize, ReadOnlySpan<CrushStep> steps)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)ruleset, byte.MaxValue);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)type, byte.MaxValue);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)minSize, byte.MaxValue);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)maxSize, byte.MaxValue);
        Id = id;
        Ruleset = ruleset;
        Type = type;
        MinSize = minSize;
        MaxSize = maxSize;
        StepArray = steps.ToArray();
    }

    /// <summary>The rule's id, which pools refer to.</summary>
    public int Id { get; }

    /// <summary>The kind of pool it serves.</summary>
    public CrushRuleType Type { get; }

    /// <summary>The smallest pool size it is meant for.</summary>
    public int MinSize { get; }

    /// <summary>The largest pool size it is meant for.</summary>
    public int MaxSize { get; }

    /// <summary>The steps in order.</summary>
    public ReadOnlySpan<CrushStep> Steps => StepArray;

    /// <summary>The legacy ruleset number of the binary form; equal to <see cref="Id"/> in maps of this decade.</summary>
    internal int Ruleset { get; }
}
