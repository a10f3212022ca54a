using Storage.Cluster;
using Storage.Reactor;

namespace Storage.Osd;

// One scheduler for all placement groups of the disk.
public sealed partial class OsdDaemon
{
    private readonly WorkScheduler _work = new(WorkProfile.Balanced, CapacityController.Initial);
    private readonly CapacityController _capacity = new();
    private ILoopTimer? _workTimer;
    private TimeSpan _workTimerAt = TimeSpan.MaxValue;
    private TimeSpan _nextPause;
    private bool _workDeferred;

    bool IPlacementGroupHost.ClientsActive => _work.ClientsActive(_loop.Now);

    void IPlacementGroupHost.Schedule(PlacementGroup group, WorkItem item, WorkClass workClass, int bytes)
    {
        _work.Submit(group.Work, item, workClass, bytes, _loop.Now);
        DeferWork();
    }

    void IPlacementGroupHost.Finish(WorkItem item)
    {
        _work.Finish(item, _loop.Now);
        DeferWork();
    }

    void IPlacementGroupHost.Cancel(WorkItem item)
    {
        _work.Cancel(item);
        DeferWork();
    }

    void IPlacementGroupHost.CancelWork(PlacementGroup group)
    {
        if (!group.Work.IsEmpty)
        {
            _work.CancelAll(group.Work);
            DeferWork();
        }
    }

    void IPlacementGroupHost.AccountClient(int bytes) => _work.OnClient(bytes, _loop.Now);

    private bool HasBackgroundWork =>
        _work.RunningCost > 0 || _work.Queued(WorkClass.Recovery) > 0 || _work.Queued(WorkClass.Backfill) > 0 || _work.Queued(WorkClass.Scrub) > 0 || _work.Queued(WorkClass.Trim) > 0;

    private void OnClientAnswered(ClientOperation operation) => _capacity.OnClientDone(operation.Arrived, _loop.Now, HasBackgroundWork);

    private void ApplyWorkSettings()
    {
        string? name = SettingText(WorkProfile.Setting);
        _work.Profile = WorkProfile.Find(name);
    }

    // At the end of the pass: what called us is done with its own state by then, and one look serves all that came in.
    private void DeferWork()
    {
        if (!_workDeferred && _running)
        {
            _workDeferred = true;
            _loop.Defer(static state => ((OsdDaemon)state!).DispatchWork(), this);
        }
    }

    private void DispatchWork()
    {
        _workDeferred = false;
        if (!_running)
        {
            return;
        }

        TimeSpan now = _loop.Now;
        PauseForMeasuring(now);
        _capacity.Step(_work.Profile.LatencyFactor, _work.IsHeldBack, now);
        _work.Capacity = _capacity.Capacity;
        while (_running && _work.TryDispatch(now, out WorkItem? item))
        {
            if (item!.Run())
            {
                _work.Finish(item, now);
            }
        }

        ArmWorkTimer(now);
    }

    private void PauseForMeasuring(TimeSpan now)
    {
        if (now < _nextPause || !_work.ClientsActive(now))
        {
            return;
        }

        long ticks = _loop.TimeProvider.GetUtcNow().UtcTicks % TimeSpan.TicksPerSecond;
        if (_nextPause > TimeSpan.Zero && ticks < CapacityController.Pause.Ticks)
        {
            _work.PauseUntil(now + CapacityController.Pause);
            _capacity.OnPause(now);
        }

        _nextPause = now + TimeSpan.FromTicks(TimeSpan.TicksPerSecond - ticks);
    }

    private void ArmWorkTimer(TimeSpan now)
    {
        TimeSpan at = _work.NextAt(now);
        if (at == TimeSpan.MaxValue)
        {
            return;
        }

        TimeSpan least = now + TimeSpan.FromMilliseconds(1);
        at = at < least ? least : at;
        if (_workTimer is not null && _workTimerAt <= at && _workTimerAt > now)
        {
            return;
        }

        _workTimer?.Cancel();
        _workTimerAt = at;
        _workTimer = _loop.Schedule(at - now, static state => ((OsdDaemon)state!).OnWorkTimer(), this);
    }

    private void OnWorkTimer()
    {
        _workTimer = null;
        _workTimerAt = TimeSpan.MaxValue;
        DispatchWork();
    }
}
