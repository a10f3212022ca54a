namespace Storage.Reactor;

/// <summary>Passes of a loop that took too long: whoever had an operation on the loop waited for them, heartbeats too.</summary>
/// <param name="Count">How many, since the last report.</param>
/// <param name="Longest">The longest, by the clock: other processes that had the core meanwhile count too.</param>
/// <param name="Collecting">The longest pause for garbage collection in one of them.</param>
public readonly record struct LoopStalls(int Count, TimeSpan Longest, TimeSpan Collecting);
