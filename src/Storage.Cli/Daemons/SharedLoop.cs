using Storage.Messaging;
using Storage.Messaging.Local;
using Storage.Messaging.Tcp;
using Storage.Reactor;

namespace Storage.Cli.Daemons;

/// <summary>One loop for several daemons of a process, with a network in memory between them.</summary>
internal sealed class SharedLoop : IDisposable
{
    private readonly LocalNetwork _network;

    /// <summary>Starts the loop.</summary>
    /// <param name="name">Name of its thread.</param>
    /// <param name="failed">Told, on the loop's thread, of the exception that ended the loop.</param>
    /// <param name="warning">Told what is worth a line in the log.</param>
    public SharedLoop(string name, Action<Exception> failed, Action<string> warning)
    {
        Thread = new LoopThread(name, failed, warning, ReactorOptions.OfLoneLoop());
        _network = new LocalNetwork(Thread.Loop);
    }

    public LoopThread Thread { get; }

    /// <summary>A transport that hands over in memory what is for another daemon on the loop; on the loop.</summary>
    public ITransport Join(TcpTransport outside) => _network.CreateTransport(outside);

    public void Dispose() => Thread.Dispose();
}
