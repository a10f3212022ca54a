namespace Storage.ObjectStore;

/// <summary>A store that keeps the daemon's resident memory near a target by the size of its caches.</summary>
public interface IMemoryTarget
{
    /// <summary>Bytes of resident memory the process should have, not much more; where it has several stores, the sum of theirs; 0 leaves the caches at a fixed size.</summary>
    long MemoryTargetBytes { get; set; }
}
