using Microsoft.Extensions.Logging;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>A daemon's log, as a part of the trace.</summary>
internal sealed class NodeLogger(NodeLoop loop, Action<string> seen) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel) && loop.IsAlive)
        {
            string text = formatter(state, exception);
            loop.Trace.Add(TraceKind.Log, loop.Name, loop.TrueNow, exception is null ? text : $"{text}: {exception.Message}");
            seen(text);
        }
    }
}
