using Storage.Messaging;

namespace Storage.Simulation.Checking;

/// <summary>Sees what a process receives and sends, at the moment when it does.</summary>
internal interface IMessageWatch
{
    /// <summary>A message is about to be handed to the process.</summary>
    void OnReceiving(PeerIdentity peer, in Message message);

    /// <summary>The process has dealt with the message that it was handed.</summary>
    /// <exception cref="Running.SimulationFailedException">It must not have done what it did.</exception>
    void OnReceived(PeerIdentity peer, MessageType type)
    {
    }

    /// <summary>The process sends a message.</summary>
    /// <exception cref="Running.SimulationFailedException">It must not.</exception>
    void OnSending(PeerIdentity peer, MessageType type, ReadOnlySpan<byte> body);
}
