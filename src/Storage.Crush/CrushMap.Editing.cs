using Storage.Crush.Editing;

namespace Storage.Crush;

/// <summary>Changed copies of a map, one change at a time; for several at once use <see cref="CrushMapBuilder"/>.</summary>
public sealed partial class CrushMap
{
    /// <summary>A map for a new cluster: the usual types, an empty root <c>default</c> and a rule <c>replicated_rule</c>.</summary>
    /// <param name="failureDomain">The type of bucket that holds at most one copy: host, rack, … or osd.</param>
    /// <param name="tunables">Null for <see cref="CrushTunables.Default"/>.</param>
    public static CrushMap CreateDefault(string failureDomain = "host", CrushTunables? tunables = null)
    {
        var builder = new CrushMapBuilder(tunables);
        builder.AddBucket("default", "root");
        builder.AddRule("replicated_rule", CrushRuleType.Replicated, "default", failureDomain);
        return builder.Build();
    }

    /// <summary>A default map with devices <c>osd.0</c> … in hosts <c>host0</c> …, dealt out in order.</summary>
    /// <param name="hosts">Number of hosts.</param>
    /// <param name="devicesPerHost">Devices in each.</param>
    /// <param name="weight">Each device's weight.</param>
    /// <param name="failureDomain">The rule's failure domain.</param>
    public static CrushMap CreateFlat(int hosts, int devicesPerHost, double weight = 1.0, string failureDomain = "host")
    {
        var builder = new CrushMapBuilder(CreateDefault(failureDomain));
        for (int device = 0; device < hosts * devicesPerHost; device++)
        {
            builder.PlaceDevice(device, $"osd.{device}", weight, null, [("root", "default"), ("host", $"host{device / devicesPerHost}")]);
        }

        return builder.Build();
    }

    /// <summary>With a device added, or moved and reweighted; see <see cref="CrushMapBuilder.PlaceDevice"/>.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithDevice(int osdId, string name, double weight, string? deviceClass, IReadOnlyList<(string Type, string Name)> location) =>
        Changed(b => b.PlaceDevice(osdId, name, weight, deviceClass, location));

    /// <summary>With a device's class set, or taken away.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithDeviceClass(int osdId, string? deviceClass) => Changed(b => b.SetDeviceClass(osdId, deviceClass));

    /// <summary>Without a device or an empty bucket.</summary>
    /// <exception cref="ArgumentException">There is no such item, it is not empty, or a rule takes it.</exception>
    public CrushMap WithoutItem(string name) => Changed(b => b.RemoveItem(name));

    /// <summary>With another weight for a device, or for every device below a bucket.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithReweightedItem(string name, double weight) => Changed(b => b.Reweight(name, weight));

    /// <summary>With a bucket moved, and all that is below it.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithMovedBucket(string name, IReadOnlyList<(string Type, string Name)> location) => Changed(b => b.MoveBucket(name, location));

    /// <summary>With a new bucket, at a location or as a root.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithBucket(string name, string type, IReadOnlyList<(string Type, string Name)>? location = null) =>
        Changed(b => b.AddBucket(name, type, location));

    /// <summary>With a bucket or device renamed.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithRenamedItem(string name, string newName) => Changed(b => b.Rename(name, newName));

    /// <summary>With a rule for copies, each in a failure domain of its own.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithReplicatedRule(string name, string root, string failureDomainType, string? deviceClass = null) =>
        Changed(b => b.AddRule(name, CrushRuleType.Replicated, root, failureDomainType, deviceClass));

    /// <summary>With a rule for erasure-coded shards, each in a failure domain of its own.</summary>
    /// <exception cref="ArgumentException">What was wrong.</exception>
    public CrushMap WithErasureRule(string name, string root, string failureDomainType, string? deviceClass = null) =>
        Changed(b => b.AddRule(name, CrushRuleType.Erasure, root, failureDomainType, deviceClass));

    /// <summary>Without a rule.</summary>
    /// <exception cref="ArgumentException">There is no such rule.</exception>
    public CrushMap WithoutRule(string name) => Changed(b => b.RemoveRule(name));

    /// <summary>With other tunables. Data moves.</summary>
    public CrushMap WithTunables(CrushTunables tunables) => Changed(b => b.Tunables = tunables);

    private CrushMap Changed(Action<CrushMapBuilder> change)
    {
        var builder = new CrushMapBuilder(this);
        change(builder);
        return builder.Build();
    }
}
