namespace Storage.Reactor;

/// <summary>
/// Receives the result of an operation on a <see cref="ReactorLoop"/>. One object may be used again for the next operation,
/// and may have several in flight; nothing is allocated per operation.
/// </summary>
public abstract class IoCompletion
{
    /// <summary>Called on the loop, exactly once per operation (a multishot operation: once per result).</summary>
    /// <param name="result">What the system call would return: bytes or a descriptor, or the negative error number.</param>
    /// <param name="flags">The completion's flags; for a multishot operation tells whether more will follow.</param>
    protected internal abstract void OnCompleted(int result, uint flags);
}
