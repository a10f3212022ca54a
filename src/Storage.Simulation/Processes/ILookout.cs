using Storage.Messaging;

namespace Storage.Simulation.Processes;

/// <summary>Told of all that a process does, right after it did it. Must not touch the cluster: what it wants to do has to wait for the next event.</summary>
internal interface ILookout
{
    /// <summary>A callback of the process has ended.</summary>
    void OnEvent();

    /// <summary>The process has dealt with a message.</summary>
    void OnReceived(PeerIdentity peer, MessageType type);

    /// <summary>The process sends a message; it has not ended the callback in which it does.</summary>
    void OnSent(PeerIdentity peer, MessageType type);
}
