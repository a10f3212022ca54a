namespace Storage.Crush.Text;

/// <summary>The names of tunables and of the steps that override them, in the order in which maps list them.</summary>
internal static class TextTunable
{
    internal static readonly (string Name, Func<CrushTunables, int> Get, Func<CrushTunables, int, CrushTunables> Set)[] All =
    [
        ("choose_local_tries", t => t.ChooseLocalTries, (t, v) => t with { ChooseLocalTries = v }),
        ("choose_local_fallback_tries", t => t.ChooseLocalFallbackTries, (t, v) => t with { ChooseLocalFallbackTries = v }),
        ("choose_total_tries", t => t.ChooseTotalTries, (t, v) => t with { ChooseTotalTries = v }),
        ("chooseleaf_descend_once", t => t.ChooseLeafDescendOnce, (t, v) => t with { ChooseLeafDescendOnce = v }),
        ("chooseleaf_vary_r", t => t.ChooseLeafVaryR, (t, v) => t with { ChooseLeafVaryR = (byte)v }),
        ("chooseleaf_stable", t => t.ChooseLeafStable, (t, v) => t with { ChooseLeafStable = (byte)v }),
        ("straw_calc_version", t => t.StrawCalcVersion, (t, v) => t with { StrawCalcVersion = (byte)v }),
        ("allowed_bucket_algs", t => t.AllowedBucketAlgorithms, (t, v) => t with { AllowedBucketAlgorithms = v }),
    ];

    private static readonly (string Name, CrushStepKind Kind)[] s_steps =
    [
        ("set_choose_tries", CrushStepKind.SetChooseTries),
        ("set_choose_local_tries", CrushStepKind.SetChooseLocalTries),
        ("set_choose_local_fallback_tries", CrushStepKind.SetChooseLocalFallbackTries),
        ("set_chooseleaf_tries", CrushStepKind.SetChooseLeafTries),
        ("set_chooseleaf_vary_r", CrushStepKind.SetChooseLeafVaryR),
        ("set_chooseleaf_stable", CrushStepKind.SetChooseLeafStable),
    ];

    internal static string StepName(CrushStepKind kind) => Array.Find(s_steps, s => s.Kind == kind).Name;

    internal static bool TryFindStep(string name, out CrushStepKind kind)
    {
        kind = Array.Find(s_steps, s => s.Name == name).Kind;
        return kind != CrushStepKind.Noop;
    }
}
