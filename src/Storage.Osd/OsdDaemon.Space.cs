using System.Globalization;
using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

// Who has room. OSDs tell each other with every heartbeat; between two of them a primary counts what it sends. So a write that would
// not fit on some member is refused before any member has it. The store's own limit lies above, for what arrives all the same.
public sealed partial class OsdDaemon
{
    private const long MostSlackBytes = 64 << 20;

    private readonly Dictionary<OsdId, long> _space = [];
    private double _fullRatio;

    long IPlacementGroupHost.FreeBytes(OsdId osd) => osd == Id ? OwnFreeBytes() : _space.TryGetValue(osd, out long free) ? free : long.MaxValue;

    void IPlacementGroupHost.Spend(OsdId osd, int bytes)
    {
        ref long free = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrNullRef(_space, osd);
        if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref free) && free != long.MaxValue)
        {
            free -= (bytes + (2L * ObjectStore.StoreLimits.BlockSize) - 1) & -ObjectStore.StoreLimits.BlockSize; // and its log entry
        }
    }

    // Bytes until this disk counts as full; other primaries may use some of them before they hear of it.
    private long OwnFreeBytes()
    {
        ObjectStore.StoreUsage usage = _store.Usage;
        if (usage.TotalBytes is <= 0 or long.MaxValue)
        {
            return long.MaxValue;
        }

        long slack = Math.Min(MostSlackBytes, usage.TotalBytes / 100);
        return (long)(usage.TotalBytes * _fullRatio) - slack - usage.UsedBytes;
    }

    private void EncodeSpace(WireWriter writer) => writer.WriteInt64(OwnFreeBytes());

    private void TakeSpace(OsdId osd, ref WireReader reader) => _space[osd] = reader.ReadInt64();

    // As the monitors judge it, so that both say the same.
    private void ApplySpaceSettings()
    {
        string? text = Map!.Configuration.GetValueOrDefault("mon/mon_osd_full_ratio") ?? Map.Configuration.GetValueOrDefault("global/mon_osd_full_ratio");
        _fullRatio = double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double ratio) && ratio is > 0 and <= 1 ? ratio : _options.FullRatio;
    }
}
