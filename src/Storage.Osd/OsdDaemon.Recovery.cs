using System.Globalization;
using Storage.Cluster;

namespace Storage.Osd;

// Few groups recover and backfill at once: as primary, and as target of other primaries. Slots are granted at the end of the
// pass, so that no group is called while another one, or the map, is being dealt with.
public sealed partial class OsdDaemon
{
    private const double BackfillFullRatio = 0.90;

    private readonly SlotPool[] _localSlots = [new(1), new(1)];
    private readonly SlotPool[] _remoteSlots = [new(1), new(1)];
    private double _backfillFullRatio = BackfillFullRatio;
    private bool _slotsDeferred;

    bool IPlacementGroupHost.IsBackfillFull => _store.Usage.TotalBytes > 0 && _store.Usage.UsedBytes >= _store.Usage.TotalBytes * _backfillFullRatio;

    void IPlacementGroupHost.RequestSlot(PlacementGroup group, SlotKind kind, bool remote, int priority)
    {
        Pool(kind, remote).Request(group.Id, priority);
        DeferSlots();
    }

    bool IPlacementGroupHost.HoldsSlot(PlacementGroup group, SlotKind kind, bool remote) => Pool(kind, remote).Holds(group.Id);

    bool IPlacementGroupHost.IsSlotWantedAbove(SlotKind kind, int priority) => Pool(kind, false).IsWantedAbove(priority);

    void IPlacementGroupHost.ReleaseSlot(PlacementGroup group, SlotKind kind, bool remote)
    {
        if (Pool(kind, remote).Release(group.Id))
        {
            DeferSlots();
        }
    }

    private SlotPool Pool(SlotKind kind, bool remote) => (remote ? _remoteSlots : _localSlots)[(int)kind];

    private void ApplyRecoverySettings()
    {
        int backfills = (int)Setting("osd_max_backfills", _options.BackfillGroups, 1, 1000);
        _localSlots[(int)SlotKind.Backfill].Slots = _remoteSlots[(int)SlotKind.Backfill].Slots = backfills;
        _localSlots[(int)SlotKind.Recovery].Slots = _remoteSlots[(int)SlotKind.Recovery].Slots = _options.RecoveryGroups;
        string? ratio = Map!.Configuration.GetValueOrDefault("mon/mon_osd_backfillfull_ratio") ?? Map.Configuration.GetValueOrDefault("global/mon_osd_backfillfull_ratio");
        _backfillFullRatio = double.TryParse(ratio, NumberStyles.Float, CultureInfo.InvariantCulture, out double set) && set is > 0 and <= 1 ? set : BackfillFullRatio;
        DeferSlots();
    }

    // What is set for this very OSD, for all OSDs, or for everybody.
    private string? SettingText(string key) => Map!.Configuration.GetValueOrDefault($"osd.{Id.Value}/{key}")
        ?? Map.Configuration.GetValueOrDefault("osd/" + key) ?? Map.Configuration.GetValueOrDefault("global/" + key);

    private double Setting(string key, double otherwise, double low, double high)
    {
        string? text = SettingText(key);
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= low && value <= high ? value : otherwise;
    }

    private void DeferSlots()
    {
        if (!_slotsDeferred && _running)
        {
            _slotsDeferred = true;
            _loop.Defer(static state => ((OsdDaemon)state!).GrantSlots(), this);
        }
    }

    private void GrantSlots()
    {
        _slotsDeferred = false;
        Grant(SlotKind.Recovery, false);
        Grant(SlotKind.Recovery, true);
        Grant(SlotKind.Backfill, false);
        Grant(SlotKind.Backfill, true);
    }

    private void Grant(SlotKind kind, bool remote)
    {
        SlotPool pool = Pool(kind, remote);
        while (_running && pool.TryGrant(out PgId id))
        {
            if (_groups.TryGetValue(id, out PlacementGroup? group))
            {
                group.OnSlot(kind, remote);
            }
            else
            {
                pool.Release(id);
            }
        }
    }
}
