from toolchat.engine.remote.process import main

main()
