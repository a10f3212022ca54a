namespace Storage.Crush.Editing;

/// <summary>
/// Shadow trees: for each device class a copy of every hierarchy that holds the devices of that class only, so that a rule
/// can take <c>default~ssd</c>. Ids matter to placement, so a shadow keeps the id it had.
/// </summary>
internal sealed class ShadowTrees
{
    private readonly CrushMapData _data;
    private readonly SortedDictionary<int, SortedDictionary<int, int>> _formerIds;
    private readonly HashSet<int> _reserved = [];
    private readonly Dictionary<string, int> _byName = new(StringComparer.Ordinal);

    private ShadowTrees(CrushMapData data, SortedDictionary<int, SortedDictionary<int, int>> formerIds)
    {
        _data = data;
        _formerIds = formerIds;
        foreach (SortedDictionary<int, int> ids in formerIds.Values)
        {
            _reserved.UnionWith(ids.Values);
        }

        foreach ((int id, string name) in data.ItemNames)
        {
            _byName[name] = id;
        }
    }

    /// <summary>Builds the shadows of a map that has none.</summary>
    /// <param name="data">The map.</param>
    /// <param name="formerIds">Bucket → class → id to use where the shadow had one.</param>
    internal static void Populate(CrushMapData data, SortedDictionary<int, SortedDictionary<int, int>> formerIds)
    {
        data.Shadows = [];
        if (data.ClassNames.Count == 0)
        {
            return;
        }

        var trees = new ShadowTrees(data, formerIds);
        foreach (int root in Roots(data))
        {
            foreach (int classId in data.ClassNames.Keys)
            {
                trees.Clone(root, classId);
            }
        }
    }

    /// <summary>Throws the shadows away and builds them anew from the hierarchy as it is now.</summary>
    internal static void Rebuild(CrushMapData data)
    {
        SortedDictionary<int, SortedDictionary<int, int>> former = data.Shadows;
        foreach (int classId in data.ClassNames.Keys.ToArray())
        {
            if (!IsUsed(data, classId))
            {
                data.ClassNames.Remove(classId);
            }
        }

        for (int i = 0; i < data.Buckets.Length; i++)
        {
            if (data.Buckets[i] is not null && data.IsShadow(~i))
            {
                data.Buckets[i] = null;
                data.ItemNames.Remove(~i);
                data.ItemClasses.Remove(~i);
                foreach (CrushChooseArgument?[] set in data.ChooseArgs.Values)
                {
                    if (i < set.Length)
                    {
                        set[i] = null;
                    }
                }
            }
        }

        Populate(data, former);
    }

    /// <summary>Buckets that no other contains and that are no shadows, most negative id first.</summary>
    internal static List<int> Roots(CrushMapData data)
    {
        var contained = new HashSet<int>();
        foreach (CrushBucket? bucket in data.Buckets)
        {
            contained.UnionWith(bucket?.ItemArray ?? []);
        }

        var roots = new List<int>();
        for (int i = data.Buckets.Length - 1; i >= 0; i--)
        {
            if (data.Buckets[i] is not null && !contained.Contains(~i) && !data.IsShadow(~i))
            {
                roots.Add(~i);
            }
        }

        return roots;
    }

    // A class lives as long as a device has it or a rule takes one of its shadows.
    private static bool IsUsed(CrushMapData data, int classId)
    {
        foreach ((int item, int itemClass) in data.ItemClasses)
        {
            if (item >= 0 && itemClass == classId)
            {
                return true;
            }
        }

        foreach (CrushRule? rule in data.Rules)
        {
            foreach (CrushStep step in rule?.StepArray ?? [])
            {
                if (step.Kind == CrushStepKind.Take && data.IsShadow(step.Argument1)
                    && data.ItemClasses.GetValueOrDefault(step.Argument1, -1) == classId)
                {
                    return true;
                }
            }
        }

        return false;
    }

    private CrushBucket Clone(int originalId, int classId)
    {
        CrushBucket original = _data.Buckets[~originalId]!;
        string name = $"{_data.ItemNames.GetValueOrDefault(originalId) ?? throw new CrushFormatException($"Bucket {originalId} has no name; device classes need one.")}~{_data.ClassNames[classId]}";
        if (_byName.TryGetValue(name, out int existing))
        {
            return _data.Buckets[~existing]!;
        }

        var items = new List<int>();
        var weights = new List<uint>();
        var sources = new List<int>();
        for (int i = 0; i < original.Size; i++)
        {
            int item = original.ItemArray[i];
            if (item >= 0)
            {
                if (_data.ItemClasses.TryGetValue(item, out int itemClass) && itemClass == classId)
                {
                    items.Add(item);
                    weights.Add(original.WeightArray[i]);
                    sources.Add(i);
                }
            }
            else
            {
                CrushBucket child = Clone(item, classId);
                items.Add(child.Id);
                weights.Add(child.Weight);
                sources.Add(i);
            }
        }

        int id = FormerId(originalId, classId) ?? NextId();
        if (_data.BucketAt(id) is not null)
        {
            throw new CrushFormatException($"The shadow of bucket {originalId} for class {_data.ClassNames[classId]} has id {id}, which another bucket has.");
        }

        CrushBucketAlgorithm algorithm = original.Algorithm;
        if (algorithm == CrushBucketAlgorithm.Uniform && weights.Any(w => w != weights[0]))
        {
            throw new CrushFormatException($"Bucket {originalId} is uniform, but its parts of class {_data.ClassNames[classId]} have different weights.");
        }

        CrushBucket copy = CrushBucket.Create(id, original.Type, algorithm, [.. items], [.. weights], _data.Tunables.StrawCalcVersion);
        _data.Put(copy);
        _data.ItemClasses[id] = classId;
        _data.ItemNames[id] = name;
        _byName[name] = id;
        if (!_data.Shadows.TryGetValue(originalId, out SortedDictionary<int, int>? shadows))
        {
            _data.Shadows[originalId] = shadows = [];
        }

        shadows[classId] = id;
        CopyChooseArgs(original, copy, sources);
        return copy;
    }

    private int? FormerId(int bucket, int classId) =>
        _formerIds.TryGetValue(bucket, out SortedDictionary<int, int>? ids) && ids.TryGetValue(classId, out int id) ? id : null;

    private int NextId()
    {
        int id = -1;
        while (_data.BucketAt(id) is not null || _reserved.Contains(id))
        {
            id--;
        }

        return id;
    }

    // Devices keep their weight of the original's set; a child counts with the sum of its own set.
    private void CopyChooseArgs(CrushBucket original, CrushBucket copy, List<int> sources)
    {
        foreach (long set in _data.ChooseArgs.Keys.ToArray())
        {
            CrushChooseArgument?[] arguments = _data.ChooseArgs[set];
            CrushChooseArgument? source = ~original.Id < arguments.Length ? arguments[~original.Id] : null;
            if (source is null || source.WeightSets.Length == 0)
            {
                continue;
            }

            if (arguments.Length < _data.Buckets.Length)
            {
                Array.Resize(ref arguments, _data.Buckets.Length);
                _data.ChooseArgs[set] = arguments;
            }

            var weightSets = new uint[source.WeightSets.Length][];
            for (int p = 0; p < weightSets.Length; p++)
            {
                weightSets[p] = new uint[copy.Size];
                for (int i = 0; i < copy.Size; i++)
                {
                    int item = copy.ItemArray[i];
                    weightSets[p][i] = item >= 0 ? source.WeightSets[p][sources[i]]
                        : arguments[~item] is { PositionCount: > 0 } child ? Sum(child.WeightsAt(p)) : 0;
                }
            }

            arguments[~copy.Id] = new CrushChooseArgument(weightSets, null);
        }
    }

    internal static uint Sum(ReadOnlySpan<uint> weights)
    {
        uint sum = 0;
        foreach (uint weight in weights)
        {
            sum = checked(sum + weight);
        }

        return sum;
    }
}
