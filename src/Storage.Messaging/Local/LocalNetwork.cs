using Storage.Cluster;
using Storage.Messaging.Tcp;
using Storage.Reactor;

namespace Storage.Messaging.Local;

/// <summary>
/// The nodes that share one loop of one process. What they send each other is handed over in memory, data by reference; they listen on TCP all
/// the same, and reach everybody else by it. All members are called on the loop.
/// </summary>
public sealed class LocalNetwork
{
    private readonly Dictionary<NodeAddress, LocalListener> _listeners = [];

    /// <summary>Creates a network without nodes.</summary>
    /// <param name="loop">The loop.</param>
    public LocalNetwork(ReactorLoop loop) => Loop = loop;

    /// <summary>The loop all its nodes live on.</summary>
    public ReactorLoop Loop { get; }

    /// <summary>Messages handed over in memory so far.</summary>
    public long Delivered { get; internal set; }

    /// <summary>Adds a node.</summary>
    /// <param name="outside">How it reaches nodes of other processes, and they it.</param>
    /// <returns>Its transport.</returns>
    public ITransport CreateTransport(TcpTransport outside)
    {
        ArgumentNullException.ThrowIfNull(outside);
        return new LocalTransport(this, outside);
    }

    private sealed class LocalTransport(LocalNetwork network, TcpTransport outside) : ITransport
    {
        public IConnection Connect(NodeAddress address, IConnectionHandler handler)
        {
            if (!network._listeners.TryGetValue(address, out LocalListener? listener))
            {
                return outside.Connect(address, handler);
            }

            var dialler = new LocalConnection(network, address, listener.Self, handler);
            var answerer = new LocalConnection(network, default, outside.Self, null);
            LocalConnection.Join(dialler, answerer);
            network.Loop.Post(static state => ((Opening)state!).Run(), new Opening(dialler, answerer, listener));
            return dialler;
        }

        public IListener Listen(NodeAddress address, Func<IConnection, IConnectionHandler?> accept)
        {
            var listener = new LocalListener(network, outside.Listen(address, accept), outside.Self, accept);
            network._listeners.Add(listener.Address, listener);
            return listener;
        }
    }

    private sealed class LocalListener(LocalNetwork network, IListener outside, PeerIdentity self, Func<IConnection, IConnectionHandler?> accept) : IListener
    {
        public NodeAddress Address => outside.Address;

        public PeerIdentity Self => self;

        public bool IsOpen => network._listeners.TryGetValue(Address, out LocalListener? known) && ReferenceEquals(known, this);

        public IConnectionHandler? Accept(IConnection connection) => accept(connection);

        public void Dispose()
        {
            if (IsOpen)
            {
                network._listeners.Remove(Address);
            }

            outside.Dispose();
        }
    }

    private sealed class Opening(LocalConnection dialler, LocalConnection answerer, LocalListener listener)
    {
        public void Run()
        {
            if (!dialler.IsAlive)
            {
                return; // given up meanwhile; it was told
            }

            if (!listener.IsOpen)
            {
                dialler.End(CloseReason.Refused);
                return;
            }

            IConnectionHandler? handler = listener.Accept(answerer);
            if (handler is null)
            {
                dialler.End(CloseReason.Reset);
                return;
            }

            answerer.Open(handler);
            dialler.Open(null);
        }
    }
}
