using System.Globalization;
using System.Text;

namespace Storage.Crush.Text;

/// <summary>Writes the text form: tunables that are not legacy, devices, types, buckets (children first), rules, choose_args.</summary>
internal sealed class CrushTextWriter
{
    private readonly CrushMap _map;
    private readonly CrushMapData _data;
    private readonly StringBuilder _out = new();

    private CrushTextWriter(CrushMap map)
    {
        _map = map;
        _data = map.Data;
    }

    internal static string Write(CrushMap map)
    {
        var writer = new CrushTextWriter(map);
        writer.WriteMap();
        return writer._out.ToString();
    }

    private void WriteMap()
    {
        Line("# begin crush map");
        foreach ((string name, Func<CrushTunables, int> value, _) in TextTunable.All)
        {
            if (value(_map.Tunables) != value(CrushTunables.Legacy))
            {
                Line($"tunable {name} {value(_map.Tunables)}");
            }
        }

        Line("\n# devices");
        foreach ((int id, string name) in _data.ItemNames)
        {
            if (id >= 0 && id < _map.MaxDevices)
            {
                Line($"device {id} {name}{(_map.GetDeviceClass(id) is { } c ? " class " + c : "")}");
            }
        }

        Line("\n# types");
        if (!_data.TypeNames.ContainsKey(0) && _data.TypeNames.Count > 0)
        {
            Line("type 0 osd");
        }

        foreach ((int id, string name) in _data.TypeNames)
        {
            Line($"type {id} {name}");
        }

        Line("\n# buckets");
        var done = new bool[_data.Buckets.Length];
        foreach (CrushBucket bucket in _map.Buckets)
        {
            BucketAfterChildren(bucket, done);
        }

        Line("\n# rules");
        foreach (CrushRule rule in _map.Rules)
        {
            Rule(rule);
        }

        if (_data.ChooseArgs.Count > 0)
        {
            Line("\n# choose_args");
            foreach ((long id, CrushChooseArgument?[] arguments) in _data.ChooseArgs)
            {
                ChooseArgs(id, arguments);
            }
        }

        Line("\n# end crush map");
    }

    // Maps are acyclic, so this ends; its depth is that of the hierarchy.
    private void BucketAfterChildren(CrushBucket bucket, bool[] done)
    {
        if (done[~bucket.Id])
        {
            return;
        }

        done[~bucket.Id] = true;
        foreach (int item in bucket.Items)
        {
            if (item < 0)
            {
                BucketAfterChildren(_data.Buckets[~item]!, done);
            }
        }

        if (!_data.IsShadow(bucket.Id))
        {
            Bucket(bucket);
        }
    }

    private void Bucket(CrushBucket bucket)
    {
        Line($"{TypeName(bucket.Type)} {ItemName(bucket.Id)} {{");
        Line($"\tid {bucket.Id}\t\t# do not change unnecessarily");
        if (_data.Shadows.TryGetValue(bucket.Id, out SortedDictionary<int, int>? shadows))
        {
            foreach ((int classId, int shadow) in shadows)
            {
                Line($"\tid {shadow} class {_data.ClassNames.GetValueOrDefault(classId)}\t\t# do not change unnecessarily");
            }
        }

        Line($"\t# weight {FixedPoint.Format(bucket.Weight)}");
        (string algorithm, string note, bool positions) = bucket.Algorithm switch
        {
            CrushBucketAlgorithm.Uniform => ("uniform", $"\t# do not change bucket size ({bucket.Size}) unnecessarily", true),
            CrushBucketAlgorithm.List => ("list", "\t# add new items at the end; do not change order unnecessarily", false),
            CrushBucketAlgorithm.Tree => ("tree", "\t# do not change pos for existing items unnecessarily", true),
            CrushBucketAlgorithm.Straw => ("straw", "", false),
            _ => ("straw2", "", false),
        };
        Line($"\talg {algorithm}{note}");
        Line("\thash 0\t# rjenkins1");
        for (int i = 0; i < bucket.Size; i++)
        {
            string position = positions ? string.Create(CultureInfo.InvariantCulture, $" pos {i}") : "";
            Line($"\titem {ItemName(bucket.ItemArray[i])} weight {FixedPoint.Format(bucket.WeightArray[i])}{position}");
        }

        Line("}");
    }

    private void Rule(CrushRule rule)
    {
        Line($"rule {_map.GetRuleName(rule.Id)} {{");
        Line($"\tid {rule.Id}");
        if (rule.Ruleset != rule.Id)
        {
            Line($"\t# WARNING: ruleset {rule.Ruleset} != id {rule.Id}; this will not recompile to the same map");
        }

        Line($"\ttype {rule.Type switch { CrushRuleType.Replicated => "replicated", CrushRuleType.Erasure => "erasure", _ => ((int)rule.Type).ToString(CultureInfo.InvariantCulture) }}");
        Line($"\tmin_size {rule.MinSize}");
        Line($"\tmax_size {rule.MaxSize}");
        foreach (CrushStep step in rule.Steps)
        {
            Line($"\tstep {Step(step)}");
        }

        Line("}");
    }

    private string Step(CrushStep step)
    {
        switch (step.Kind)
        {
            case CrushStepKind.Take:
                string name = ItemName(step.Argument1);
                int tilde = name.IndexOf('~', StringComparison.Ordinal);
                return tilde < 0 ? $"take {name}" : $"take {name[..tilde]} class {name[(tilde + 1)..]}";
            case CrushStepKind.Noop:
                return "noop";
            case CrushStepKind.Emit:
                return "emit";
            case CrushStepKind.ChooseFirstN:
            case CrushStepKind.ChooseIndep:
            case CrushStepKind.ChooseLeafFirstN:
            case CrushStepKind.ChooseLeafIndep:
                string verb = step.Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseIndep ? "choose" : "chooseleaf";
                string mode = step.Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseLeafFirstN ? "firstn" : "indep";
                return string.Create(CultureInfo.InvariantCulture, $"{verb} {mode} {step.Argument1} type {TypeName(step.Argument2)}");
            default:
                return string.Create(CultureInfo.InvariantCulture, $"{TextTunable.StepName(step.Kind)} {step.Argument1}");
        }
    }

    private void ChooseArgs(long id, CrushChooseArgument?[] arguments)
    {
        Line($"choose_args {id} {{");
        for (int i = 0; i < arguments.Length; i++)
        {
            // Only straw2 heeds choose_args; crushtool drops those of other buckets.
            if (arguments[i] is not { } argument || _data.Buckets[i]?.Algorithm != CrushBucketAlgorithm.Straw2)
            {
                continue;
            }

            Line("  {");
            Line($"    bucket_id {~i}");
            if (argument.WeightSets.Length > 0)
            {
                Line("    weight_set [");
                foreach (uint[] weights in argument.WeightSets)
                {
                    Line($"      [ {string.Concat(weights.Select(w => FixedPoint.Format(w) + " "))}]");
                }

                Line("    ]");
            }

            if (argument.Ids is { } ids)
            {
                Line($"    ids [ {string.Concat(ids.Select(v => v.ToString(CultureInfo.InvariantCulture) + " "))}]");
            }

            Line("  }");
        }

        Line("}");
    }

    private string TypeName(int type) =>
        _data.TypeNames.GetValueOrDefault(type) ?? (type == 0 ? "device" : string.Create(CultureInfo.InvariantCulture, $"type{type}"));

    private string ItemName(int item) =>
        _data.ItemNames.GetValueOrDefault(item) ?? string.Create(CultureInfo.InvariantCulture, $"{(item >= 0 ? "device" : "bucket")}{(item >= 0 ? item : ~item)}");

    private void Line(string text) => _out.Append(text).Append('\n');
}
