namespace Storage.Crush.Editing;

/// <summary>The hierarchy: links between buckets and their items, and the weights that follow from them.</summary>
public sealed partial class CrushMapBuilder
{
    private int? FindItem(string name) => _idsByName.TryGetValue(name, out int id) ? id : null;

    private void SetName(int item, string name)
    {
        if (_data.ItemNames.TryGetValue(item, out string? former))
        {
            _idsByName.Remove(former);
        }

        _data.ItemNames[item] = name;
        _idsByName[name] = item;
    }

    private int ItemId(string name)
    {
        int item = FindItem(name) ?? throw new ArgumentException($"There is no device or bucket '{name}'.", nameof(name));
        return item >= 0 || _data.BucketAt(item) is not null ? item : throw new ArgumentException($"Bucket '{name}' does not exist.", nameof(name));
    }

    private int TypeId(string name)
    {
        foreach ((int id, string candidate) in _data.TypeNames)
        {
            if (candidate == name)
            {
                return id;
            }
        }

        throw new ArgumentException($"There is no type '{name}'; there are {string.Join(", ", _data.TypeNames.Values)}.", nameof(name));
    }

    private int TypeOf(int item) => item >= 0 ? 0 : _data.Buckets[~item]!.Type;

    private int NewBucket(string name, int type, CrushBucketAlgorithm algorithm, int id, int[] items, uint[] weights)
    {
        CrushNames.Check(name, "bucket name");
        if (FindItem(name) is { } other)
        {
            throw new ArgumentException($"The name '{name}' is already used by {Describe(other)}.", nameof(name));
        }

        if (type == 0)
        {
            throw new ArgumentException($"'{name}' cannot be of the devices' type.", nameof(type));
        }

        if (id == 0)
        {
            for (id = -1; _data.BucketAt(id) is not null; id--)
            {
            }
        }
        else if (_data.BucketAt(id) is not null)
        {
            throw new ArgumentException($"Bucket id {id} is already used.", nameof(id));
        }

        _data.Put(CrushBucket.Create(id, type, algorithm, items, weights, _data.Tunables.StrawCalcVersion));
        SetName(id, name);
        _rebuildShadows = true;
        return id;
    }

    private void CheckLocation(int item, IReadOnlyList<(string Type, string Name)> location)
    {
        foreach ((string type, string name) in location)
        {
            int typeId = TypeId(type);
            CrushNames.Check(name, "bucket name");
            if (typeId == 0 || (item < 0 && typeId <= TypeOf(item)))
            {
                throw new ArgumentException($"{_data.ItemNames.GetValueOrDefault(item, "An item")} cannot be below a {type}.", nameof(location));
            }

            if (FindItem(name) is { } existing && (existing >= 0 || TypeOf(existing) != typeId))
            {
                throw new ArgumentException($"'{name}' is a {_data.TypeNames.GetValueOrDefault(TypeOf(existing))}, not a {type}.", nameof(location));
            }
        }
    }

    // Climbs from the item: makes missing buckets until one exists, and links there. The rest of the location is implied.
    private void Attach(int item, uint weight, IReadOnlyList<(string Type, string Name)> location)
    {
        CheckLocation(item, location);
        int current = item;
        foreach ((string type, string name) in location.OrderBy(l => TypeId(l.Type)))
        {
            if (FindItem(name) is { } parent)
            {
                Link(parent, current, weight);
                _rebuildShadows = true;
                return;
            }

            current = NewBucket(name, TypeId(type), CrushBucketAlgorithm.Straw2, 0, [current], [weight]);
        }
    }

    private void Link(int parent, int item, uint weight)
    {
        CrushBucket bucket = _data.Buckets[~parent]!;
        Replace(bucket, [.. bucket.ItemArray, item], [.. bucket.WeightArray, weight], source: null);
    }

    private void Detach(int item)
    {
        foreach (int parent in Parents(item))
        {
            CrushBucket bucket = _data.Buckets[~parent]!;
            int at = bucket.IndexOf(item);
            Replace(bucket, Without(bucket.ItemArray, at), Without(bucket.WeightArray, at), source: at);
            _rebuildShadows = true;
        }
    }

    // All items of a uniform bucket have one weight, so there they change together.
    private void SetWeight(int parent, int item, uint weight)
    {
        CrushBucket bucket = _data.Buckets[~parent]!;
        uint[] weights = [.. bucket.WeightArray];
        if (bucket.Algorithm == CrushBucketAlgorithm.Uniform)
        {
            Array.Fill(weights, weight);
        }
        else
        {
            weights[bucket.IndexOf(item)] = weight;
        }

        foreach (CrushChooseArgument?[] set in _data.ChooseArgs.Values)
        {
            if (~parent < set.Length && set[~parent] is { PositionCount: > 0 } argument)
            {
                set[~parent] = new CrushChooseArgument([.. argument.WeightSets.Select(w => With(w, bucket.IndexOf(item), weight))], argument.Ids);
            }
        }

        Replace(bucket, bucket.ItemArray, weights, source: null);
        _rebuildShadows = true;
    }

    /// <summary>Puts a changed bucket in place of the old one, carries its weight sets along and its weight up.</summary>
    /// <param name="old">The bucket as it was.</param>
    /// <param name="items">Its items now.</param>
    /// <param name="weights">Their weights.</param>
    /// <param name="source">The index of the item that was removed, or null where none was.</param>
    private void Replace(CrushBucket old, int[] items, uint[] weights, int? source)
    {
        _data.Buckets[~old.Id] = CrushBucket.Create(old.Id, old.Type, old.Algorithm, items, weights, _data.Tunables.StrawCalcVersion);
        foreach (CrushChooseArgument?[] set in _data.ChooseArgs.Values)
        {
            if (~old.Id >= set.Length || set[~old.Id] is not { } argument)
            {
                continue;
            }

            if (items.Length != old.Size)
            {
                argument = source is { } removed
                    ? new CrushChooseArgument([.. argument.WeightSets.Select(w => Without(w, removed))], argument.Ids is { } ids ? Without(ids, removed) : null)
                    : new CrushChooseArgument([.. argument.WeightSets.Select(w => (uint[])[.. w, weights[^1]])], argument.Ids is { } more ? [.. more, items[^1]] : null);
                set[~old.Id] = argument;
            }

            CarryWeightSet(set, old.Id, argument);
        }

        uint weight = _data.Buckets[~old.Id]!.Weight;
        foreach (int parent in Parents(old.Id))
        {
            CrushBucket above = _data.Buckets[~parent]!;
            if (above.WeightArray[above.IndexOf(old.Id)] != weight)
            {
                Replace(above, above.ItemArray, With(above.WeightArray, above.IndexOf(old.Id), weight), source: null);
            }
        }
    }

    // In a weight set a bucket counts with the sum of its own weights there, position by position.
    private void CarryWeightSet(CrushChooseArgument?[] set, int bucket, CrushChooseArgument argument)
    {
        if (argument.PositionCount == 0)
        {
            return;
        }

        foreach (int parent in Parents(bucket))
        {
            if (~parent >= set.Length || set[~parent] is not { PositionCount: > 0 } above)
            {
                continue;
            }

            int at = _data.Buckets[~parent]!.IndexOf(bucket);
            var weightSets = new uint[above.PositionCount][];
            for (int p = 0; p < weightSets.Length; p++)
            {
                weightSets[p] = With(above.WeightSets[p], at, ShadowTrees.Sum(argument.WeightsAt(p)));
            }

            set[~parent] = new CrushChooseArgument(weightSets, above.Ids);
            CarryWeightSet(set, parent, set[~parent]!);
        }
    }

    private List<int> Parents(int item)
    {
        var parents = new List<int>();
        for (int i = 0; i < _data.Buckets.Length; i++)
        {
            if (_data.Buckets[i] is { } bucket && bucket.IndexOf(item) >= 0 && !_data.IsShadow(bucket.Id))
            {
                parents.Add(bucket.Id);
            }
        }

        return parents;
    }

    private SortedSet<int> DevicesBelow(int item)
    {
        var found = new SortedSet<int>();
        if (item >= 0)
        {
            found.Add(item);
            return found;
        }

        foreach (int child in _data.Buckets[~item]!.ItemArray)
        {
            found.UnionWith(DevicesBelow(child));
        }

        return found;
    }

    private bool IsBelow(int item, int bucket) =>
        Array.Exists(_data.Buckets[~bucket]!.ItemArray, child => child == item || (child < 0 && IsBelow(item, child)));

    private static T[] Without<T>(T[] array, int index) => [.. array.AsSpan(0, index), .. array.AsSpan(index + 1)];

    private static T[] With<T>(T[] array, int index, T value)
    {
        T[] copy = [.. array];
        copy[index] = value;
        return copy;
    }
}
