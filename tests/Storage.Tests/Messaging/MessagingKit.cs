using Storage.Messaging;

namespace Storage.Tests.Messaging;

/// <summary>A connection handler made of callbacks, which also keeps what happened.</summary>
internal sealed class ScriptHandler : IConnectionHandler
{
    public delegate void MessageCallback(IConnection connection, in Message message);

    public Action<IConnection>? Opened { get; set; }

    public MessageCallback? Received { get; set; }

    public Action<IConnection>? Drained { get; set; }

    public Action<IConnection, CloseReason>? Closed { get; set; }

    public List<string> Trace { get; } = [];

    public void OnOpened(IConnection connection)
    {
        Trace.Add($"opened {connection.Peer}");
        Opened?.Invoke(connection);
    }

    public void OnMessage(IConnection connection, in Message message)
    {
        if (Received is null)
        {
            Trace.Add($"message {message.Body.Length}+{message.Data.Length}");
        }
        else
        {
            Received(connection, message);
        }
    }

    public void OnDrained(IConnection connection) => Drained?.Invoke(connection);

    public void OnClosed(IConnection connection, CloseReason reason)
    {
        Trace.Add($"closed {reason}");
        Closed?.Invoke(connection, reason);
    }
}
