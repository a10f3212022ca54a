using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// How fast small writes leave the journal. All at once they would have the disk and the loop to themselves for most of a second, and every
// commit meanwhile would wait behind them. So a checkpoint that nobody waits for writes back as many blocks as come in, a
// little faster, and all that is left where nothing comes in.
public sealed partial class DiskObjectStore
{
    private const int PacedBlocks = 16; // to a step

    // Each block that returns to its place is a write of its own, where 64 that go to new space are one: what may be spent on keeping objects in
    // one piece is a few percent of a core.
    private const int ReturnsPerSecond = 4000;
    private static readonly TimeSpan s_paceLook = TimeSpan.FromMilliseconds(2);
    private bool _isPaced;
    private long _writeBackTotal; // blocks, when it began
    private long _writeBackStarted;
    private long _returned; // blocks that went back to their place
    private TimeSpan _writeBackBegan;
    private long _idleBlocks; // allowed because nothing came in
    private long _journaledAtLook;
    private ILoopTimer? _paceTimer;

    /// <summary>Blocks that should be on their way by now: all of them when three quarters of the next checkpoint's journal are written.</summary>
    private long DueBlocks => PacedBlocks + _idleBlocks + (long)(_writeBackTotal * Math.Min(1.0, _journaledBytes / (CheckpointBytes * 0.75)));

    private bool IsAhead => _isPaced && _writeBackStarted >= DueBlocks;

    /// <summary>Whether blocks go back to where they lay, one write each: as long as the disk keeps up with that.</summary>
    private bool MayReturn => _options.WriteBackPlace switch
    {
        WriteBackPlace.InPlace => true,
        WriteBackPlace.NewSpace => false,
        _ when _isPaced => DueBlocks - _writeBackStarted < Math.Max(_writeBackTotal / 8, 4 * PacedBlocks)
            && _returned < (_loop.Now - _writeBackBegan).TotalSeconds * ReturnsPerSecond,
        _ => _journaledBytes < CheckpointBytes / 8, // what came in since this write-back began
    };

    private void BeginPace(bool paced)
    {
        _isPaced = paced;
        _writeBackTotal = _overlayBlocks;
        _writeBackStarted = _returned = _idleBlocks = _journaledAtLook = 0;
        _writeBackBegan = _loop.Now;
        if (paced)
        {
            ArmPace();
        }
    }

    private void EndPace()
    {
        _isPaced = false;
        _paceTimer?.Cancel();
        _paceTimer = null;
    }

    private void FollowPace()
    {
        if (_isPaced)
        {
            ContinueWriteBack();
        }
    }

    private void ArmPace() => _paceTimer = _loop.Schedule(s_paceLook, static state => ((DiskObjectStore)state!).LookAtPace(), this);

    private void LookAtPace()
    {
        _paceTimer = null;
        if (!_isPaced || _closed)
        {
            return;
        }

        if (_journaledBytes == _journaledAtLook)
        {
            _idleBlocks += WriteBackBlocks;
        }

        _journaledAtLook = _journaledBytes;
        ArmPace();
        ContinueWriteBack();
    }
}
