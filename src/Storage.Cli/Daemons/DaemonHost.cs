using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Storage.Cli.Commands;

namespace Storage.Cli.Daemons;

/// <summary>
/// Runs one daemon as this process: logs to standard error, readiness and stop as systemd (or a terminal) wants them, exit codes.
/// </summary>
internal static class DaemonHost
{
    /// <summary>Exit code after a failure while running.</summary>
    public const int ExitFailed = 70;

    /// <summary>Exit code of a daemon that could not start.</summary>
    public const int ExitNotStarted = 1;

    private static readonly TimeSpan s_stopTimeout = TimeSpan.FromSeconds(20);

    /// <summary>Runs until SIGTERM, SIGINT or a failure.</summary>
    /// <param name="name">As in <c>osd.0</c>.</param>
    /// <param name="logging">How to log.</param>
    /// <param name="create">Makes the daemon; opens nothing yet.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <returns>The process's exit code.</returns>
    public static async Task<int> RunAsync(string name, DaemonLogging logging, Func<DaemonContext, IDaemon> create, CancellationToken cancellation)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "storage", DisableDefaults = true });
        logging.Apply(builder.Logging);
        builder.Services.Configure<ConsoleLifetimeOptions>(options => options.SuppressStatusMessages = true);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = s_stopTimeout);
        builder.Services.AddSystemd();
        builder.Services.AddSingleton(services => new DaemonContext(name, services.GetRequiredService<ILoggerFactory>()));
        builder.Services.AddHostedService(services => new Service(services.GetRequiredService<DaemonContext>(), create));
        using IHost host = builder.Build();
        DaemonContext context = host.Services.GetRequiredService<DaemonContext>();
        AppDomain.CurrentDomain.UnhandledException += (_, e) =>
            context.Log.LogCritical(e.ExceptionObject as Exception, "{Daemon}: an exception nobody caught", name);
        try
        {
            await host.RunAsync(cancellation).ConfigureAwait(false);
            return 0;
        }
        catch (NotStartedException e)
        {
            context.Log.LogCritical("{Daemon} cannot start: {Reason}", name, e.InnerException!.Message);
            context.Log.LogDebug(e.InnerException, "Details");
            return ExitNotStarted;
        }
    }

    private sealed class NotStartedException(Exception reason) : Exception(reason.Message, reason);

    private sealed class Service(DaemonContext context, Func<DaemonContext, IDaemon> create) : IHostedService
    {
        private IDaemon? _daemon;

        public async Task StartAsync(CancellationToken cancellationToken)
        {
            try
            {
                _daemon = create(context);
                await _daemon.StartAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is CliException or IOException or ArgumentException or InvalidOperationException or UnauthorizedAccessException
                or Coding.MalformedDataException or DllNotFoundException)
            {
                throw new NotStartedException(e);
            }

            context.Log.LogInformation("{Daemon} started, process {Process}", context.Name, Environment.ProcessId);
        }

        public async Task StopAsync(CancellationToken cancellationToken)
        {
            if (_daemon is not null)
            {
                context.Log.LogInformation("{Daemon} stops", context.Name);
                await _daemon.DisposeAsync().ConfigureAwait(false);
                context.Log.LogInformation("{Daemon} stopped", context.Name);
            }
        }
    }
}

/// <summary>How a daemon logs.</summary>
/// <param name="Level">The least severe level that is written.</param>
/// <param name="Json">One JSON object per line instead of text.</param>
internal sealed record DaemonLogging(LogLevel Level, bool Json)
{
    /// <summary>Everything goes to standard error: standard output belongs to results.</summary>
    public void Apply(ILoggingBuilder logging)
    {
        logging.SetMinimumLevel(Level);
        logging.AddFilter("Microsoft", LogLevel.Warning);
        logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None); // why a daemon did not start is told once, by DaemonHost
        logging.AddFilter("System", LogLevel.Warning);
        if (Json)
        {
            logging.AddJsonConsole(options =>
            {
                options.UseUtcTimestamp = true;
                options.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ";
            });
        }
        else
        {
            logging.AddSimpleConsole(options =>
            {
                options.SingleLine = true;
                options.UseUtcTimestamp = true;
                options.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ ";
                options.ColorBehavior = LoggerColorBehavior.Default;
            });
        }

        logging.Services.Configure<ConsoleLoggerOptions>(options => options.LogToStandardErrorThreshold = LogLevel.Trace);
    }
}
