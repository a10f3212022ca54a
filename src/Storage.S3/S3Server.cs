using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Storage.S3;

/// <summary>Serves a gateway over HTTP/1.1 with Kestrel.</summary>
public static class S3Server
{
    /// <summary>Builds the server; the caller runs it.</summary>
    /// <param name="gateway">What answers requests.</param>
    /// <param name="options">Where to listen.</param>
    /// <param name="logging">Sets up logging.</param>
    /// <returns>The application, not yet started.</returns>
    public static WebApplication Build(S3Gateway gateway, S3Options options, Action<ILoggingBuilder> logging)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        logging(builder.Logging);
        builder.WebHost.UseKestrelCore();
        builder.Services.Configure<KestrelServerOptions>(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = null; // S3's own limits are checked while the body streams
            kestrel.Limits.MaxRequestHeadersTotalSize = 64 << 10;
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(100, TimeSpan.FromSeconds(60));
            kestrel.Limits.MinResponseDataRate = new MinDataRate(100, TimeSpan.FromSeconds(60));
            kestrel.AllowSynchronousIO = false;
            kestrel.Listen(IPAddress.Parse(options.Listen.Host), options.Listen.Port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        WebApplication app = builder.Build();
        app.Run(gateway.HandleAsync);
        return app;
    }
}
