from gpu_runtimes import register_host_backend

register_host_backend()
