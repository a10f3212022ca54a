using System.Globalization;

namespace Storage.Crush.Editing;

/// <summary>
/// Builds a map, or a changed copy of one. Every method checks its arguments and throws <see cref="ArgumentException"/>
/// with what was wrong; the map built keeps all ids, so that data moves only where the hierarchy changed.
/// </summary>
public sealed partial class CrushMapBuilder
{
    private static readonly string[] s_defaultTypes =
        ["osd", "host", "chassis", "rack", "row", "pdu", "pod", "room", "datacenter", "zone", "region", "root"];

    private readonly CrushMapData _data;

    // Of devices and buckets, but not of shadows.
    private readonly Dictionary<string, int> _idsByName = new(StringComparer.Ordinal);
    private bool _rebuildShadows;

    /// <summary>Starts from an empty map with the usual types (osd, host, …, root).</summary>
    public CrushMapBuilder(CrushTunables? tunables = null)
    {
        _data = new CrushMapData { Tunables = tunables ?? CrushTunables.Default };
        for (int i = 0; i < s_defaultTypes.Length; i++)
        {
            _data.TypeNames[i] = s_defaultTypes[i];
        }
    }

    /// <summary>Starts from a copy of a map.</summary>
    public CrushMapBuilder(CrushMap map)
    {
        ArgumentNullException.ThrowIfNull(map);
        _data = map.Data.Clone();
        foreach ((int id, string name) in _data.ItemNames)
        {
            if (!_data.IsShadow(id))
            {
                _idsByName[name] = id;
            }
        }
    }

    /// <summary>The settings of the choice algorithm. Legacy straw buckets keep their lengths until they change.</summary>
    public CrushTunables Tunables
    {
        get => _data.Tunables;
        set => _data.Tunables = value;
    }

    /// <summary>Makes the map; the builder may be used further.</summary>
    public CrushMap Build()
    {
        if (_rebuildShadows)
        {
            ShadowTrees.Rebuild(_data);
            _rebuildShadows = false;
        }

        _data.MaxDevices = Math.Max(_data.MaxDevices, _data.HighestDevicePlusOne());
        return new CrushMap(_data.Clone());
    }

    /// <summary>Defines or renames a type of bucket.</summary>
    /// <param name="id">1 to 65535; an item is always below items of higher types.</param>
    /// <param name="name">Letters, digits, '-', '_', '.'.</param>
    public void AddType(int id, string name)
    {
        if (id is < 0 or > ushort.MaxValue)
        {
            throw new ArgumentException($"Type {id}: types run from 0 to {ushort.MaxValue}.", nameof(id));
        }

        _data.TypeNames[id] = CrushNames.Check(name, "type name");
    }

    /// <summary>Adds a bucket, at a location or as a root.</summary>
    /// <param name="name">Not yet used.</param>
    /// <param name="type">The name of its type.</param>
    /// <param name="location">The buckets above it; see <see cref="PlaceDevice"/>.</param>
    /// <param name="algorithm">How it chooses.</param>
    /// <param name="id">Its id, or 0 for the first free one from -1 down.</param>
    /// <returns>The bucket's id.</returns>
    public int AddBucket(
        string name,
        string type,
        IReadOnlyList<(string Type, string Name)>? location = null,
        CrushBucketAlgorithm algorithm = CrushBucketAlgorithm.Straw2,
        int id = 0)
    {
        int added = NewBucket(name, TypeId(type), algorithm, id, [], []);
        Attach(added, 0, location ?? []);
        return added;
    }

    /// <summary>Adds a device to the hierarchy, or moves and reweights one that is there.</summary>
    /// <param name="device">The OSD's number.</param>
    /// <param name="name">Its name, usually osd.N.</param>
    /// <param name="weight">1.0 by custom is 1 TiB; 0 to 65535.</param>
    /// <param name="deviceClass">Such as ssd or hdd; null leaves it as it is.</param>
    /// <param name="location">The buckets above it as (type, name), in any order; missing ones are made. At least one.</param>
    public void PlaceDevice(int device, string name, double weight, string? deviceClass, IReadOnlyList<(string Type, string Name)> location)
    {
        ArgumentNullException.ThrowIfNull(location);
        if (device is < 0 or >= CrushMap.ItemNone - 1)
        {
            throw new ArgumentException($"{device} is no device number.", nameof(device));
        }

        CrushNames.Check(name, "device name");
        if (FindItem(name) is { } other && other != device)
        {
            throw new ArgumentException($"The name '{name}' is already used by {Describe(other)}.", nameof(name));
        }

        if (location.Count == 0)
        {
            throw new ArgumentException($"{name} needs a location, such as host=… root=default.", nameof(location));
        }

        uint fixedWeight = Text.FixedPoint.FromNumber(weight, name);
        CheckLocation(device, location);
        Detach(device);
        SetName(device, name);
        if (deviceClass is not null)
        {
            SetDeviceClass(device, deviceClass);
        }

        Attach(device, fixedWeight, location);
        _data.MaxDevices = Math.Max(_data.MaxDevices, device + 1);
    }

    /// <summary>Gives a device a class, or takes it away.</summary>
    public void SetDeviceClass(int device, string? deviceClass)
    {
        if (device < 0 || !_data.ItemNames.ContainsKey(device))
        {
            throw new ArgumentException($"There is no device {device}.", nameof(device));
        }

        _rebuildShadows = true;
        if (deviceClass is null)
        {
            _data.ItemClasses.Remove(device);
            return;
        }

        CrushNames.Check(deviceClass, "device class");
        foreach ((int id, string name) in _data.ClassNames)
        {
            if (name == deviceClass)
            {
                _data.ItemClasses[device] = id;
                return;
            }
        }

        int classId = _data.ClassNames.Count == 0 ? 0 : _data.ClassNames.Keys.Last() + 1;
        _data.ClassNames[classId] = deviceClass;
        _data.ItemClasses[device] = classId;
    }

    /// <summary>Removes a device or an empty bucket.</summary>
    public void RemoveItem(string name)
    {
        int item = ItemId(name);
        if (item < 0)
        {
            if (_data.Buckets[~item]!.Size > 0)
            {
                throw new ArgumentException($"Bucket '{name}' is not empty.", nameof(name));
            }

            CheckNotTaken(item, name);
        }

        Detach(item);
        _data.ItemNames.Remove(item);
        _idsByName.Remove(name);
        _data.ItemClasses.Remove(item);
        _rebuildShadows = true;
        if (item >= 0)
        {
            return;
        }

        _data.Buckets[~item] = null;
        foreach (CrushChooseArgument?[] set in _data.ChooseArgs.Values)
        {
            if (~item < set.Length)
            {
                set[~item] = null;
            }
        }
    }

    /// <summary>Changes the weight of a device, or of every device below a bucket, wherever they stand.</summary>
    /// <param name="name">The device or bucket.</param>
    /// <param name="weight">0 to 65535; for a bucket, the weight of each device below it.</param>
    public void Reweight(string name, double weight)
    {
        uint fixedWeight = Text.FixedPoint.FromNumber(weight, name);
        int item = ItemId(name);
        foreach (int device in DevicesBelow(item))
        {
            foreach (int parent in Parents(device))
            {
                SetWeight(parent, device, fixedWeight);
            }
        }
    }

    /// <summary>Moves a bucket with all that is below it.</summary>
    /// <param name="name">The bucket.</param>
    /// <param name="location">The buckets above it; missing ones are made; empty makes it a root.</param>
    public void MoveBucket(string name, IReadOnlyList<(string Type, string Name)> location)
    {
        ArgumentNullException.ThrowIfNull(location);
        int item = ItemId(name);
        if (item >= 0)
        {
            throw new ArgumentException($"'{name}' is a device, not a bucket.", nameof(name));
        }

        CheckLocation(item, location);
        foreach ((_, string above) in location)
        {
            if (FindItem(above) is { } target && (target == item || IsBelow(target, item)))
            {
                throw new ArgumentException($"'{name}' cannot move below itself ('{above}').", nameof(location));
            }
        }

        uint weight = _data.Buckets[~item]!.Weight;
        Detach(item);
        Attach(item, weight, location);
    }

    /// <summary>Renames a bucket or device; placement does not depend on names.</summary>
    public void Rename(string name, string newName)
    {
        int item = ItemId(name);
        CrushNames.Check(newName, "name");
        if (FindItem(newName) is { } other)
        {
            throw new ArgumentException($"The name '{newName}' is already used by {Describe(other)}.", nameof(newName));
        }

        SetName(item, newName);
        _rebuildShadows = true;
    }

    /// <summary>Adds a rule that puts each copy (or shard) of an object into a failure domain of its own.</summary>
    /// <param name="name">Not yet used.</param>
    /// <param name="type">Copies keep a short list when devices lack; shards keep their positions.</param>
    /// <param name="root">Where to start.</param>
    /// <param name="failureDomain">The name of a type: host, rack, …, or osd.</param>
    /// <param name="deviceClass">Devices of this class only; null for all.</param>
    /// <returns>The rule's id.</returns>
    public int AddRule(string name, CrushRuleType type, string root, string failureDomain, string? deviceClass = null)
    {
        CrushNames.Check(name, "rule name");
        if (_data.RuleNames.Any(r => r.Value == name && _data.Rules[r.Key] is not null))
        {
            throw new ArgumentException($"There already is a rule '{name}'.", nameof(name));
        }

        int id = Array.FindIndex(_data.Rules, rule => rule is null);
        id = id < 0 ? _data.Rules.Length : id;
        if (id > byte.MaxValue)
        {
            throw new ArgumentException("There are 256 rules already.", nameof(name));
        }

        int domain = TypeId(failureDomain);
        var take = new CrushStep(CrushStepKind.Take, Root(root, deviceClass));
        bool indep = type == CrushRuleType.Erasure;
        CrushStepKind kind = domain == 0
            ? indep ? CrushStepKind.ChooseIndep : CrushStepKind.ChooseFirstN
            : indep ? CrushStepKind.ChooseLeafIndep : CrushStepKind.ChooseLeafFirstN;
        var choose = new CrushStep(kind, 0, domain);
        var emit = new CrushStep(CrushStepKind.Emit);

        // Shards cannot do with fewer: try longer before a position is left open.
        CrushStep[] steps = indep
            ? [new CrushStep(CrushStepKind.SetChooseLeafTries, 5), new CrushStep(CrushStepKind.SetChooseTries, 100), take, choose, emit]
            : [take, choose, emit];
        _data.Put(new CrushRule(id, type, indep ? 3 : 1, indep ? 20 : 10, steps));
        _data.RuleNames[id] = name;
        return id;
    }

    /// <summary>Removes a rule. That no pool uses it is for the caller to know.</summary>
    public void RemoveRule(string name)
    {
        foreach ((int id, string candidate) in _data.RuleNames)
        {
            if (candidate == name)
            {
                _data.RuleNames.Remove(id);
                _data.Rules[id] = null;
                return;
            }
        }

        throw new ArgumentException($"There is no rule '{name}'.", nameof(name));
    }

    private int Root(string root, string? deviceClass)
    {
        int item = ItemId(root);
        if (deviceClass is null)
        {
            return item;
        }

        if (_rebuildShadows)
        {
            ShadowTrees.Rebuild(_data);
            _rebuildShadows = false;
        }

        foreach ((int classId, string name) in _data.ClassNames)
        {
            if (name == deviceClass && _data.Shadows.TryGetValue(item, out SortedDictionary<int, int>? shadows)
                && shadows.TryGetValue(classId, out int shadow))
            {
                return shadow;
            }
        }

        throw new ArgumentException($"No device below '{root}' has class '{deviceClass}'.", nameof(deviceClass));
    }

    private void CheckNotTaken(int bucket, string name)
    {
        var taken = new HashSet<int> { bucket };
        if (_data.Shadows.TryGetValue(bucket, out SortedDictionary<int, int>? shadows))
        {
            taken.UnionWith(shadows.Values);
        }

        foreach (CrushRule? rule in _data.Rules)
        {
            foreach (CrushStep step in rule?.StepArray ?? [])
            {
                if (step.Kind == CrushStepKind.Take && taken.Contains(step.Argument1))
                {
                    throw new ArgumentException($"Bucket '{name}' is used by rule '{_data.RuleNames.GetValueOrDefault(rule!.Id)}'.", nameof(name));
                }
            }
        }
    }

    private static string Describe(int item) =>
        item >= 0 ? string.Create(CultureInfo.InvariantCulture, $"device {item}") : string.Create(CultureInfo.InvariantCulture, $"bucket {item}");
}
